// SPDX-License-Identifier: BSD-2-Clause
#include "source/recording.hpp"

#include "source/recorded.hpp"

#include <closewatch/abi/record.h>

#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the file's numbers, and the kernel's records, are as in memory");

// Of what names the file: its format, and that of the records in it. Raised when older readers would misread it.
constexpr std::uint32_t format_version = 1;
struct Preamble {
  std::uint32_t skippable = ZSTD_MAGIC_SKIPPABLE_START;
  std::uint32_t size = sizeof(Preamble) - 2 * sizeof(std::uint32_t);
  std::array<char, 16> name{'c', 'l', 'o', 's', 'e', 'w', 'a', 't', 'c', 'h', ' ', 'r', 'e', 'c', '.', '\n'};
  std::uint32_t format = format_version;
  std::uint32_t abi = CW_ABI_VERSION;
};
static_assert(sizeof(Preamble) == 32);

struct ItemHeader {
  std::uint32_t size = 0;  ///< of the payload
  std::uint16_t kind = 0;
  std::uint16_t zero = 0;
};
static_assert(sizeof(ItemHeader) == 8);

constexpr std::size_t worth_a_block = std::size_t{1} << 20U;
/// As JSON in memory an item is some eighty times as large at worst, and those that are made are a few KiB.
constexpr std::size_t largest_item = std::size_t{1} << 20U;
constexpr std::size_t largest_block = worth_a_block + largest_item + sizeof(ItemHeader);
/// A window as large as the block: zstd takes no more memory than this for it.
constexpr int largest_window_log = 23;
/// Fast enough for a flood; a higher level saves a tenth of the space.
constexpr int level = 1;
constexpr std::uint64_t pulse_ns = 1'000'000'000;
/// Kept free below the limit, for the words that it was reached.
constexpr std::uint64_t room_for_end = 1024;

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span{&value, 1});
}

bool is_plain_file(int fd) {
  struct stat status{};
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

/// A pipe's reader may have stopped: while we wait for him nobody drains the ring, nor looks for Ctrl-C. POLLOUT
/// promises room for PIPE_BUF bytes.
std::expected<void, int> write_all(int fd, std::span<const std::byte> bytes, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds step{50};
  const bool plain = is_plain_file(fd);
  while (!bytes.empty()) {
    pollfd entry{fd, POLLOUT, 0};
    while (!plain && poll(&entry, 1, static_cast<int>(std::min(step, patience).count())) <= 0) {
      patience -= std::min(step, patience);
      if (patience <= std::chrono::milliseconds::zero()) return std::unexpected(ETIMEDOUT);
    }
    const ssize_t written =
        ::write(fd, bytes.data(), plain ? bytes.size() : std::min<std::size_t>(bytes.size(), PIPE_BUF));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return std::unexpected(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

struct RecordingWriter::State {
  Descriptor file;
  std::string name;
  std::uint64_t most_bytes = 0;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor{ZSTD_createCCtx()};
  std::vector<std::byte> block;
  std::vector<std::byte> compressed = std::vector<std::byte>(ZSTD_compressBound(largest_block));
  std::uint64_t written = 0;
  std::uint64_t flushed_ns = 0;
  bool ended = false;
  bool at_limit = false;
  std::chrono::milliseconds patience{};
  std::optional<Error> error;

  void fail(int code) {
    error = Error{"write the recording " + name, code,
                  code == ETIMEDOUT ? "its reader does not read: record into a file"
                                    : "it can be read up to there; choose a file with room, by --record"};
    ended = true;
  }
  void write(std::span<const std::byte> bytes) {
    written += bytes.size();
    if (auto done = write_all(file.get(), bytes, patience); !done) fail(done.error());
  }
  void append(ItemKind kind, std::span<const std::byte> payload) {
    const ItemHeader header{.size = static_cast<std::uint32_t>(payload.size()), .kind = std::to_underlying(kind)};
    block.insert(block.end(), bytes_of(header).begin(), bytes_of(header).end());
    block.insert(block.end(), payload.begin(), payload.end());
  }
  void put(ItemKind kind, std::span<const std::byte> payload) {
    if (ended) return;
    // Its reader would refuse it; nothing that is recorded is that long.
    if (payload.size() > largest_item) return fail(EMSGSIZE);
    append(kind, payload);
    if (block.size() >= worth_a_block) flush();
  }
  void put(const RecordedItem& item) { put(item.kind, std::as_bytes(std::span{item.json})); }
  std::span<const std::byte> compress() {
    const std::size_t size =
        ZSTD_compress2(compressor.get(), compressed.data(), compressed.size(), block.data(), block.size());
    if (ZSTD_isError(size) != 0) {
      fail(ENOMEM);
      return {};
    }
    return {compressed.data(), size};
  }
  void flush() {
    if (block.empty() || ended) return;
    std::span<const std::byte> bytes = compress();
    if (most_bytes != 0 && written + bytes.size() + room_for_end > most_bytes) {
      block.clear();
      const RecordedItem last = recorded(RecordingEnd{.blind_spots = {}, .at_limit = true});
      append(last.kind, std::as_bytes(std::span{last.json}));
      bytes = compress();
      at_limit = true;
    }
    if (!ended) write(bytes);
    ended = ended || at_limit;
    block.clear();
  }
};

RecordingWriter::RecordingWriter(Descriptor file, std::string name, std::uint64_t most_bytes,
                                 std::chrono::milliseconds patience)
    : state_(std::make_unique<State>()) {
  state_->file = std::move(file);
  state_->name = std::move(name);
  state_->most_bytes = most_bytes;
  state_->patience = patience;
  ZSTD_CCtx_setParameter(state_->compressor.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(state_->compressor.get(), ZSTD_c_checksumFlag, 1);
  state_->write(bytes_of(Preamble{}));
}
RecordingWriter::RecordingWriter(RecordingWriter&&) noexcept = default;
RecordingWriter& RecordingWriter::operator=(RecordingWriter&&) noexcept = default;
RecordingWriter::~RecordingWriter() = default;

void RecordingWriter::begin(const RecordingHead& head) {
  state_->put(recorded(head));
  state_->flush();
}

void RecordingWriter::put(std::span<const std::byte> record) { state_->put(ItemKind::record, record); }

void RecordingWriter::put(const Event& event) {
  if (const auto item = recorded(event)) state_->put(*item);
}

void RecordingWriter::pulse(std::uint64_t now_ns) {
  if (now_ns < state_->flushed_ns + pulse_ns) return;
  state_->flushed_ns = now_ns;
  state_->flush();
}

void RecordingWriter::end(const RecordingEnd& end) {
  state_->put(recorded(end));
  state_->flush();
  state_->ended = true;
}

bool RecordingWriter::is_open() const { return !state_->ended; }
bool RecordingWriter::reached_limit() const { return state_->at_limit; }
const std::optional<Error>& RecordingWriter::error() const { return state_->error; }
const std::string& RecordingWriter::name() const { return state_->name; }

struct RecordingReader::State {
  Descriptor file;
  std::string name;
  RecordingHead head;
  std::unique_ptr<ZSTD_DCtx, FreeDecompressor> decompressor{ZSTD_createDCtx()};
  std::vector<std::byte> input = std::vector<std::byte>(ZSTD_DStreamInSize());
  std::size_t input_at = 0;
  std::size_t input_size = 0;
  std::uint64_t offset = 0;     ///< in the file, of what is read next
  std::uint64_t block_at = 0;   ///< in the file, of the block that is being handed out
  std::vector<std::byte> block = std::vector<std::byte>(largest_block);
  std::size_t block_size = 0;
  std::size_t at = 0;  ///< in the block
  bool ended = false;

  [[nodiscard]] Error fault(const std::string& what, std::uint64_t where) const {
    return {"read the recording " + name + ": " + what + " at byte " + std::to_string(where), 0, ""};
  }
  [[nodiscard]] Error bad_item(const std::string& what) const {
    return fault(what + ", " + std::to_string(at) + " bytes into the block", block_at);
  }

  /// Is there anything left to read? Reads on where the buffer is used up.
  std::expected<bool, Error> fill() {
    if (input_at < input_size) return true;
    for (;;) {
      const ssize_t length = ::read(file.get(), input.data(), input.size());
      if (length < 0 && errno == EINTR) continue;
      if (length < 0) return std::unexpected(Error{"read the recording " + name, errno, ""});
      input_at = 0;
      input_size = static_cast<std::size_t>(length);
      return length > 0;
    }
  }

  std::expected<void, Error> read_preamble() {
    Preamble preamble;
    const auto into = std::as_writable_bytes(std::span{&preamble, 1});
    std::size_t have = 0;
    while (have < into.size()) {
      const auto more = fill();
      if (!more) return std::unexpected(more.error());
      if (!*more) break;
      const std::size_t part = std::min(into.size() - have, input_size - input_at);
      std::copy_n(input.begin() + static_cast<std::ptrdiff_t>(input_at), part,
                  into.begin() + static_cast<std::ptrdiff_t>(have));
      have += part;
      input_at += part;
    }
    offset = have;
    const Preamble ours;
    const auto same = std::as_bytes(std::span{&ours, 1}).first(std::min(have, offsetof(Preamble, format)));
    const auto differs = std::mismatch(same.begin(), same.end(), into.begin()).first - same.begin();
    if (static_cast<std::size_t>(differs) != same.size())
      return std::unexpected(
          Error{"replay " + name + ": it is not as a recording begins, at byte " + std::to_string(differs), 0,
                "it is no recording of closewatch (--record makes one)"});
    if (have < into.size()) return std::unexpected(fault("it ends within its first words", have));
    if (preamble.format != ours.format || preamble.abi != ours.abi)
      return std::unexpected(Error{"replay " + name + ": its format is " + std::to_string(preamble.format) + "." +
                                       std::to_string(preamble.abi) + " (at byte " +
                                       std::to_string(offsetof(Preamble, format)) + "), and this closewatch reads " +
                                       std::to_string(ours.format) + "." + std::to_string(ours.abi),
                                   0, "use the closewatch that made it, or a later one"});
    return {};
  }

  /// The next block, whole and with a checksum that agrees. False at the end of the file.
  std::expected<bool, Error> read_block() {
    block_at = offset;
    block_size = 0;
    at = 0;
    if (const auto more = fill(); !more || !*more) return more;
    ZSTD_DCtx_reset(decompressor.get(), ZSTD_reset_session_only);
    for (;;) {
      const auto more = fill();
      if (!more) return std::unexpected(more.error());
      if (!*more)
        return std::unexpected(fault("it ends at byte " + std::to_string(offset) + ", within the block", block_at));
      ZSTD_inBuffer in{input.data() + input_at, input_size - input_at, 0};
      ZSTD_outBuffer out{block.data() + block_size, block.size() - block_size, 0};
      const std::size_t left = ZSTD_decompressStream(decompressor.get(), &out, &in);
      if (ZSTD_isError(left) != 0)
        return std::unexpected(fault(std::string{"damaged ("} + ZSTD_getErrorName(left) + "), in the block", block_at));
      input_at += in.pos;
      offset += in.pos;
      block_size += out.pos;
      if (left == 0) return true;
      if (in.pos == 0 && out.pos == 0) return std::unexpected(fault("damaged (too large), in the block", block_at));
    }
  }

  std::expected<std::optional<Item>, Error> next_item() {
    while (at == block_size) {
      const auto more = read_block();
      if (!more) return std::unexpected(more.error());
      if (!*more) return std::unexpected(fault("it ends before the run did,", offset));
    }
    ItemHeader header;
    if (block_size - at < sizeof header) return std::unexpected(bad_item("damaged (an item cut short)"));
    std::memcpy(&header, block.data() + at, sizeof header);
    if (header.zero != 0 || header.size > block_size - at - sizeof header)
      return std::unexpected(bad_item("damaged (an item cut short)"));
    if (header.size > largest_item) return std::unexpected(bad_item("damaged (an item that is too large)"));
    const std::span<const std::byte> payload{block.data() + at + sizeof header, header.size};
    if (header.kind == std::to_underlying(ItemKind::record)) {
      at += sizeof header + header.size;
      return Item{payload};
    }
    auto item = from_recorded(header.kind, {reinterpret_cast<const char*>(payload.data()), payload.size()});
    if (!item) return std::unexpected(bad_item("damaged (" + item.error() + ")"));
    at += sizeof header + header.size;
    return std::visit([](auto&& what) -> std::optional<Item> { return Item{std::forward<decltype(what)>(what)}; },
                      *std::move(item));
  }

  /// Nothing comes behind the end.
  std::expected<void, Error> check_end() {
    const auto more = at < block_size ? std::expected<bool, Error>{true} : fill();
    if (!more) return std::unexpected(more.error());
    if (*more) return std::unexpected(fault("it goes on behind its end,", offset));
    return {};
  }
};

RecordingReader::RecordingReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
RecordingReader::RecordingReader(RecordingReader&&) noexcept = default;
RecordingReader& RecordingReader::operator=(RecordingReader&&) noexcept = default;
RecordingReader::~RecordingReader() = default;

std::expected<RecordingReader, Error> RecordingReader::open(Descriptor file, std::string name) {
  auto state = std::make_unique<State>();
  state->file = std::move(file);
  state->name = std::move(name);
  ZSTD_DCtx_setParameter(state->decompressor.get(), ZSTD_d_windowLogMax, largest_window_log);
  if (auto read = state->read_preamble(); !read) return std::unexpected(read.error());
  auto item = state->next_item();
  if (!item) return std::unexpected(item.error());
  auto* head = std::get_if<RecordingHead>(&**item);
  if (head == nullptr) return std::unexpected(state->fault("damaged (it does not say what it is),", state->block_at));
  state->head = std::move(*head);
  return RecordingReader{std::move(state)};
}

const RecordingHead& RecordingReader::head() const { return state_->head; }

std::expected<std::optional<RecordingReader::Item>, Error> RecordingReader::next() {
  if (state_->ended) return std::nullopt;
  auto item = state_->next_item();
  if (!item) {
    state_->ended = true;
    return item;
  }
  if (std::holds_alternative<RecordingHead>(**item)) {
    state_->ended = true;
    return std::unexpected(state_->bad_item("damaged (a second head)"));
  }
  if (std::holds_alternative<RecordingEnd>(**item)) {
    state_->ended = true;
    if (auto end = state_->check_end(); !end) return std::unexpected(end.error());
  }
  return item;
}

}  // namespace closewatch
