// SPDX-License-Identifier: BSD-2-Clause
#include "host/tcp_table.hpp"

#include "host/words.hpp"

#include <closewatch/base/descriptor.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace closewatch {
namespace {

/// The kernel's lines have 150 (tcp) or some 190 characters (tcp6).
constexpr std::size_t longest_line = 1024;
constexpr std::size_t piece_size = std::size_t{64} << 10;
constexpr std::uint64_t ns_per_clock_tick = 10'000'000;  // USER_HZ
constexpr unsigned timewait_timer = 3;                   // get_timewait4_sock()
constexpr unsigned new_syn_recv = 12;                    // include/net/tcp_states.h
constexpr std::size_t digits_of_a_word = 8;

std::optional<State> state_in(std::string_view text) {
  const auto number = whole_number<unsigned>(text, 16);
  if (!number || *number == 0) return std::nullopt;
  if (*number == new_syn_recv) return State::syn_recv;
  if (*number > static_cast<unsigned>(State::closing)) return std::nullopt;
  return static_cast<State>(*number);
}

/// "0100007F:1F90": each word of the address as a number of this machine's, the port as a number.
std::optional<Endpoint> endpoint_in(std::string_view text, std::size_t words) {
  const std::size_t length = words * digits_of_a_word;
  if (text.size() < length || text.substr(length, 1) != ":") return std::nullopt;
  Endpoint endpoint;
  for (std::size_t word = 0; word < words; ++word) {
    const auto value = whole_number<std::uint32_t>(text.substr(word * digits_of_a_word, digits_of_a_word), 16);
    if (!value) return std::nullopt;
    std::memcpy(endpoint.address.data() + word * sizeof *value, &*value, sizeof *value);
  }
  const auto port = whole_number<std::uint16_t>(text.substr(length + 1), 16);
  if (!port) return std::nullopt;
  endpoint.port = *port;
  return endpoint;
}

/// "03:000017A2": which timer, and when, in clock ticks.
bool read_timer(std::string_view text, TcpSocket& socket) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  const auto kind = whole_number<unsigned>(text.substr(0, colon), 16);
  const auto ticks = whole_number<std::uint64_t>(text.substr(colon + 1), 16);
  if (!kind || !ticks) return false;
  socket.bucket = *kind == timewait_timer;
  if (*kind != 0) socket.timer_ns = *ticks * ns_per_clock_tick;
  return true;
}

/// Reads a file line by line; 0, or the errno.
template <typename Take>
int each_line(int fd, const Take& take) {
  std::string text(piece_size, '\0');
  std::size_t kept = 0;  // of a line whose end has not come yet
  for (;;) {
    const ssize_t length = ::read(fd, text.data() + kept, text.size() - kept);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno;
    if (length == 0) return 0;
    std::string_view rest{text.data(), kept + static_cast<std::size_t>(length)};
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      take(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    kept = rest.size() > longest_line ? 0 : rest.size();
    std::memmove(text.data(), rest.data(), kept);
  }
}

}  // namespace

std::optional<TcpSocket> parse_tcp_socket(std::string_view line, std::uint32_t netns) {
  constexpr std::size_t words_of_ipv6 = 4;
  take_word(line);  // its number
  const std::string_view local_text = take_word(line);
  const std::size_t words = local_text.find(':') == digits_of_a_word ? 1 : words_of_ipv6;
  const auto local = endpoint_in(local_text, words);
  const auto peer = endpoint_in(take_word(line), words);
  const auto state = state_in(take_word(line));
  take_word(line);  // queues
  TcpSocket socket;
  if (!local || !peer || !state || !read_timer(take_word(line), socket)) return std::nullopt;
  take_word(line);  // retransmissions
  const auto uid = whole_number<std::uint32_t>(take_word(line));
  take_word(line);  // probes
  const auto inode = whole_number<std::uint64_t>(take_word(line));
  if (!uid || !inode) return std::nullopt;
  socket.tuple = unmapped({.netns = netns,
                           .family = words == 1 ? Family::ipv4 : Family::ipv6,
                           .role = Role::unknown,
                           .local = *local,
                           .peer = *peer});
  socket.state = *state;
  socket.uid = *uid;
  socket.inode = *inode;
  return socket;
}

std::expected<void, Error> each_tcp_socket(const std::filesystem::path& root, std::uint32_t netns,
                                           const std::function<void(const TcpSocket&)>& take) {
  for (const char* name : {"tcp", "tcp6"}) {
    const std::filesystem::path path = root / "proc/thread-self/net" / name;
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file.is_open() && errno == ENOENT && std::string_view{name} == "tcp6") continue;
    const int error = !file.is_open() ? errno : each_line(file.get(), [&](std::string_view line) {
      if (const auto socket = parse_tcp_socket(line, netns)) take(*socket);
    });
    if (error != 0) return std::unexpected(Error{"read " + path.string(), error, "mount /proc"});
  }
  return {};
}

}  // namespace closewatch
