// SPDX-License-Identifier: BSD-2-Clause
#include "host/safe_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <optional>
#include <utility>

namespace closewatch {
namespace {

/// The kernel's own (MAXSYMLINKS).
constexpr int links_at_most = 40;
/// A name that somebody puts there and takes away without end.
constexpr int tries_at_most = 100;  // more than links_at_most: a last name that is a link is a try too
constexpr mode_t others_write = S_IWGRP | S_IWOTH;
constexpr mode_t others = S_IRWXG | S_IRWXO;

bool is_sticky_for(const struct stat& folder, mode_t writers) {
  return (folder.st_mode & S_ISVTX) != 0 && (folder.st_mode & writers) != 0;
}

/// fs/namei.c: may_follow_link().
bool may_follow(const struct stat& folder, const struct stat& link) {
  return link.st_uid == geteuid() || link.st_uid == folder.st_uid || !is_sticky_for(folder, S_IWOTH);
}

/// fs/namei.c: may_create_in_sticky(); and protected_hardlinks, which could bring a file of ours here.
bool may_write(const struct stat& folder, const struct stat& file) {
  if ((!S_ISREG(file.st_mode) && !S_ISFIFO(file.st_mode)) || !is_sticky_for(folder, others_write)) return true;
  if (S_ISREG(file.st_mode) && file.st_nlink > 1) return false;
  return file.st_uid == geteuid() || file.st_uid == folder.st_uid;
}

bool is_same(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/// Where a link of /proc leads cannot be read, only followed; nobody but the kernel makes one.
bool is_of_proc(const Descriptor& file) {
  struct statfs filesystem{};
  return fstatfs(file.get(), &filesystem) == 0 && filesystem.f_type == PROC_SUPER_MAGIC;
}

std::optional<std::string> target_of(const Descriptor& link) {
  std::array<char, PATH_MAX> bytes{};
  const ssize_t length = readlinkat(link.get(), "", bytes.data(), bytes.size());
  if (length < 0) return std::nullopt;
  return std::string{bytes.data(), static_cast<std::size_t>(length)};
}

/// A path, walked name by name, since the rules are about the folder that each link is in.
class Walk {
 public:
  Walk(const std::string& path, mode_t mode) : path_(path), rest_(path), mode_(mode) {}

  std::expected<Descriptor, Error> run() && {
    if (rest_.empty()) return failed(ENOENT);
    if (auto began = begin(); !began) return std::unexpected(began.error());
    for (int tries = 0; tries < tries_at_most;) {
      const std::string name = next_name();
      if (name.empty()) return failed(EISDIR);
      if (!rest_.empty()) {
        if (auto entered = enter(name); !entered) return std::unexpected(entered.error());
        continue;
      }
      ++tries;
      auto opened = open_last(name);
      if (!opened || opened->is_open()) return opened;
    }
    return failed(gone_);
  }

 private:
  std::unexpected<Error> failed(int code) const {
    return std::unexpected(Error{"write to " + path_, code, "name a file that can be written"});
  }
  std::unexpected<Error> refused(const std::string& name, const std::string& why) const {
    return std::unexpected(
        Error{"write to " + path_, EACCES, name + " " + why + ": name a file in a folder of your own"});
  }

  /// At the root, or where we are.
  std::expected<void, Error> begin() {
    folder_ = Descriptor{::open(rest_.front() == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!folder_.is_open()) return failed(errno);
    return {};
  }

  /// Takes it off the rest, which is empty after the last; a path that ends with a slash has a last name of its own.
  std::string next_name() {
    rest_.erase(0, rest_.find_first_not_of('/'));
    std::string name = rest_.substr(0, rest_.find('/'));
    rest_.erase(0, name.size());
    if (rest_.empty()) return name == "." || name == ".." ? "" : name;
    return name;
  }

  std::expected<void, Error> enter(const std::string& name) {
    // As a folder first: that mounts what is mounted on demand.
    constexpr int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    Descriptor next{openat(folder_.get(), name.c_str(), flags | O_DIRECTORY)};
    if (!next.is_open() && errno == ENOTDIR) {
      const Descriptor link{openat(folder_.get(), name.c_str(), flags)};
      struct stat status{};
      if (!link.is_open() || fstat(link.get(), &status) != 0) return failed(errno);
      if (!S_ISLNK(status.st_mode)) return failed(ENOTDIR);
      if (!is_of_proc(link)) return follow(name, link, status);
      next = Descriptor{openat(folder_.get(), name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    }
    if (!next.is_open()) return failed(errno);
    folder_ = std::move(next);
    return {};
  }

  std::expected<void, Error> follow(const std::string& name, const Descriptor& link, const struct stat& status) {
    struct stat folder{};
    if (fstat(folder_.get(), &folder) != 0) return failed(errno);
    if (!may_follow(folder, status))
      return refused(name, "is a symbolic link of somebody else's (uid " + std::to_string(status.st_uid) +
                               ") in a folder that everybody may write to");
    auto target = target_of(link);
    if (!target) return failed(errno);
    if (target->empty()) return failed(ENOENT);
    if (++links_ > links_at_most) return failed(ELOOP);
    // What follows the last slash of a link's own path is not to become its last name.
    rest_ = *std::move(target) + rest_;
    if (rest_.front() == '/') return begin();
    return {};
  }

  /// No descriptor: it has changed meanwhile, or it was a link; go on.
  std::expected<Descriptor, Error> open_last(const std::string& name) {
    const Descriptor place{openat(folder_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!place.is_open() && errno == ENOENT) return make(name);
    struct stat seen{};
    if (!place.is_open() || fstat(place.get(), &seen) != 0) return failed(errno);
    if (S_ISLNK(seen.st_mode) && !is_of_proc(place)) {
      if (auto followed = follow(name, place, seen); !followed) return std::unexpected(followed.error());
      return Descriptor{};
    }
    if (auto judged = judge(name, seen); !judged) return std::unexpected(judged.error());
    const int no_link = S_ISLNK(seen.st_mode) ? 0 : O_NOFOLLOW;
    Descriptor file{openat(folder_.get(), name.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | no_link)};
    if (!file.is_open()) {
      // Gone, or a link by now: what is there now is looked at anew.
      if (errno != ENOENT && errno != ELOOP) return failed(errno);
      gone_ = errno;
      return Descriptor{};
    }
    struct stat status{};
    if (fstat(file.get(), &status) != 0) return failed(errno);
    // A descriptor that we were given is as whoever gave it wants it.
    if (no_link == 0) return file;
    if (!is_same(status, seen)) return Descriptor{};
    if (S_ISREG(status.st_mode) && (mode_ & others) == 0 && (status.st_mode & others) != 0 &&
        fchmod(file.get(), mode_) != 0)
      return failed(errno);
    return file;
  }

  std::expected<void, Error> judge(const std::string& name, const struct stat& file) const {
    struct stat folder{};
    if (fstat(folder_.get(), &folder) != 0) return failed(errno);
    if (may_write(folder, file)) return {};
    return refused(name, file.st_nlink > 1 ? "has another name too, and is in a folder that others may write to"
                                           : "is somebody else's (uid " + std::to_string(file.st_uid) +
                                                 ") in a folder that others may write to");
  }

  std::expected<Descriptor, Error> make(const std::string& name) const {
    Descriptor file{openat(folder_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
                           mode_ & ~others_write)};
    if (!file.is_open() && errno != EEXIST) return failed(errno);
    return file;
  }

  const std::string& path_;
  std::string rest_;   ///< of the path, after what was walked
  Descriptor folder_;  ///< that the next name is in
  mode_t mode_;
  int links_ = 0;
  int gone_ = EAGAIN;  ///< what kept a name from being opened that had just been there
};

}  // namespace

std::expected<Descriptor, Error> open_for_writing(const std::string& path, mode_t mode) {
  return Walk{path, mode}.run();
}

std::expected<Descriptor, Error> make_new_file(const std::string& path) {
  constexpr mode_t owner_alone = 0600;
  Descriptor file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, owner_alone)};
  if (!file.is_open()) return std::unexpected(Error{"write " + path, errno, ""});
  return file;
}

}  // namespace closewatch
