// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_BASE_DESCRIPTOR_HPP
#define CLOSEWATCH_BASE_DESCRIPTOR_HPP

#include <unistd.h>

#include <utility>

namespace closewatch {

/// Owns a file descriptor, or none (-1).
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    const Descriptor before{std::exchange(fd_, std::exchange(other.fd_, -1))};
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  void close() { *this = Descriptor{}; }

 private:
  int fd_ = -1;
};

}  // namespace closewatch

#endif
