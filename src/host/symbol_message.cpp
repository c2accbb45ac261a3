// SPDX-License-Identifier: BSD-2-Clause
#include "host/symbol_message.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace closewatch {
namespace {

struct ReplyHead {
  std::uint64_t address = 0;
  std::uint32_t has_address = 0;
  std::uint32_t line = 0;
  std::array<std::uint32_t, 3> lengths{};  ///< of the texts behind it: build-id, function, file
};

/// Room for one descriptor, laid out as the kernel wants it.
struct Ancillary {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

msghdr message_of(iovec& content, Ancillary& ancillary) {
  msghdr message{};
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.bytes.data();
  message.msg_controllen = ancillary.bytes.size();
  return message;
}

}  // namespace

std::string encoded(const CodePlace& place) {
  ReplyHead head{
      .address = place.address.value_or(0), .has_address = place.address ? 1U : 0U, .line = place.location.line};
  const std::array<const std::string*, 3> texts{&place.build_id, &place.location.function, &place.location.file};
  std::string packet(sizeof head, '\0');
  for (std::size_t at = 0; at < texts.size(); ++at) {
    const std::string_view text = std::string_view{*texts[at]}.substr(0, text_limit);
    head.lengths[at] = static_cast<std::uint32_t>(text.size());
    packet.append(text);
  }
  std::memcpy(packet.data(), &head, sizeof head);
  return packet;
}

std::optional<CodePlace> decoded(std::string_view packet) {
  ReplyHead head;
  if (packet.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, packet.data(), sizeof head);
  packet.remove_prefix(sizeof head);
  CodePlace place;
  if (head.has_address != 0) place.address = head.address;
  place.location.line = head.line;
  const std::array<std::string*, 3> texts{&place.build_id, &place.location.function, &place.location.file};
  for (std::size_t at = 0; at < texts.size(); ++at) {
    if (head.lengths[at] > packet.size()) return std::nullopt;
    *texts[at] = packet.substr(0, head.lengths[at]);
    packet.remove_prefix(head.lengths[at]);
  }
  if (!packet.empty()) return std::nullopt;
  return place;
}

bool send_request(int socket, const SymbolRequest& request, int fd) {
  SymbolRequest copy = request;
  iovec content{&copy, sizeof copy};
  Ancillary ancillary;
  msghdr message = message_of(content, ancillary);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(sizeof copy);
}

std::optional<std::pair<SymbolRequest, Descriptor>> receive_request(int socket) {
  SymbolRequest request;
  iovec content{&request, sizeof request};
  Ancillary ancillary;
  msghdr message = message_of(content, ancillary);
  ssize_t length = 0;
  do length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (length < 0 && errno == EINTR);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (length != static_cast<ssize_t>(sizeof request) || header == nullptr || header->cmsg_type != SCM_RIGHTS)
    return std::nullopt;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return std::pair{request, Descriptor{fd}};
}

}  // namespace closewatch
