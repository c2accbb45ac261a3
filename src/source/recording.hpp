// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SOURCE_RECORDING_HPP
#define CLOSEWATCH_SOURCE_RECORDING_HPP

// A run's inputs in a file, in the order in which the engine got them: what it is fed again gives the same facts.
//
// The file is a stream of zstd (RFC 8878): a skippable frame that names it, then blocks, each a frame of its own with
// a checksum, so that what was written before a crash can be read up to the last whole block. A block is a row of
// items: length of the payload (4 bytes), kind (2), 0 (2), payload, all little-endian. The kernel's records are kept as
// they came (abi/record.h), all other inputs as JSON (source/recorded.hpp).

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/engine.hpp>
#include <closewatch/core/event.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace closewatch {

/// What a run was that was recorded.
struct RecordingHead {
  std::string version;  ///< of the closewatch that made it
  std::string command;  ///< trace, report, run
  std::uint64_t began_ns = 0;  ///< when the watching began, after boot
  bool stacks = false;
  Engine::Settings engine;  ///< without its limits
};

/// The last item of a recording that is whole.
struct RecordingEnd {
  std::vector<std::string> blind_spots;  ///< what the run could not see, in sentences
  bool at_limit = false;  ///< the recording ended and not the run: it had grown to its limit
};

/// Writes a recording. What fails ends the recording and not the run: the error is kept.
class RecordingWriter {
 public:
  /// `name` is for messages. The file grows to `most_bytes` at most; 0: without limit. The reader of a pipe who does
  /// not read for `patience` is waited for no longer: ETIMEDOUT ends the recording.
  RecordingWriter(Descriptor file, std::string name, std::uint64_t most_bytes,
                  std::chrono::milliseconds patience = std::chrono::seconds{1});
  RecordingWriter(RecordingWriter&&) noexcept;
  RecordingWriter& operator=(RecordingWriter&&) noexcept;
  ~RecordingWriter();

  void begin(const RecordingHead& head);
  /// As it came from the kernel.
  void put(std::span<const std::byte> record);
  /// Anything else that the engine is told. Lines lost on their way out (OutputLost) are no input and left out.
  void put(const Event& event);
  /// What has waited for a second goes out, so that a crash costs no more. `now_ns` after boot.
  void pulse(std::uint64_t now_ns);
  void end(const RecordingEnd& end);

  /// Takes what comes: neither ended nor failed.
  [[nodiscard]] bool is_open() const;
  [[nodiscard]] bool reached_limit() const;
  [[nodiscard]] const std::optional<Error>& error() const;
  [[nodiscard]] const std::string& name() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads one. Trusts nothing: any bytes give items or an error, and take no more than some 20 MiB.
class RecordingReader {
 public:
  /// A record of the kernel's; good until the next call.
  using Record = std::span<const std::byte>;
  using Item = std::variant<RecordingHead, Record, Event, RecordingEnd>;

  /// Reads the head. `name` is for messages.
  [[nodiscard]] static std::expected<RecordingReader, Error> open(Descriptor file, std::string name);
  RecordingReader(RecordingReader&&) noexcept;
  RecordingReader& operator=(RecordingReader&&) noexcept;
  ~RecordingReader();

  [[nodiscard]] const RecordingHead& head() const;
  /// The next item; none behind the end. An error says at which byte of the file; there is nothing behind it.
  [[nodiscard]] std::expected<std::optional<Item>, Error> next();

 private:
  struct State;
  explicit RecordingReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace closewatch

#endif
