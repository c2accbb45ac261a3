// SPDX-License-Identifier: BSD-2-Clause
#include "host/user.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <optional>

namespace closewatch {
namespace {

constexpr std::size_t first_buffer = 4096;
constexpr std::size_t largest_buffer = 16U << 20U;

/// Calls one of the getpw…_r() and getgr…_r() with a buffer that is large enough. Empty where there is no such entry,
/// or it cannot be asked for.
template <typename Entry, typename Ask>
std::optional<Entry> entry_of(std::string& buffer, const Ask& ask) {
  for (buffer.resize(first_buffer); buffer.size() <= largest_buffer; buffer.resize(buffer.size() * 2)) {
    Entry entry{};
    Entry* found = nullptr;
    const int error = ask(&entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE) continue;
    if (error != 0 || found == nullptr) return std::nullopt;
    return entry;
  }
  return std::nullopt;
}

/// (uid_t)-1 means "leave it" to setresuid().
std::optional<std::uint32_t> id_in(const std::string& text) {
  std::uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (id == std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return id;
}

/// A name before a number, as chown(1) does: there may be a user called 1000.
std::optional<User> entry_of_user(const std::string& text) {
  std::string buffer;
  auto entry = entry_of<passwd>(buffer, [&](passwd* into, char* space, std::size_t size, passwd** found) {
    return getpwnam_r(text.c_str(), into, space, size, found);
  });
  if (const auto id = id_in(text); !entry && id)
    entry = entry_of<passwd>(buffer, [&](passwd* into, char* space, std::size_t size, passwd** found) {
      return getpwuid_r(*id, into, space, size, found);
    });
  if (!entry) return std::nullopt;
  return User{.uid = entry->pw_uid, .gid = entry->pw_gid, .groups = {}, .name = entry->pw_name, .home = entry->pw_dir};
}

std::optional<gid_t> group_of(const std::string& text) {
  std::string buffer;
  const auto entry = entry_of<group>(buffer, [&](group* into, char* space, std::size_t size, group** found) {
    return getgrnam_r(text.c_str(), into, space, size, found);
  });
  return entry ? std::optional{entry->gr_gid} : id_in(text);
}

std::vector<gid_t> groups_of(const User& user) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (getgrouplist(user.name.c_str(), user.gid, groups.data(), &count) < 0)
    groups.resize(static_cast<std::size_t>(count) + groups.size());
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

bool drop_inheritable() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) return false;
  for (__user_cap_data_struct& set : sets) set.inheritable = 0;
  return syscall(SYS_capset, &header, sets.data()) == 0;
}

}  // namespace

std::expected<User, Error> find_user(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const auto refused = [&](const std::string& why, const std::string& remedy) {
    return std::unexpected(Error{"run COMMAND as " + text + ": " + why, 0, remedy});
  };
  auto user = entry_of_user(name);
  if (!user) {
    const auto id = id_in(name);
    if (!id) return refused("there is no such user", "name one of `getent passwd`, or a number");
    if (colon == std::string::npos) return refused("no user has this number", "name a group too: " + name + ":GROUP");
    user = User{.uid = *id, .gid = 0, .groups = {}, .name = name, .home = "/"};
  }
  if (colon != std::string::npos) {
    const auto group = group_of(text.substr(colon + 1));
    if (!group) return refused("there is no such group", "name one of `getent group`, or a number");
    user->gid = *group;
  }
  user->groups = groups_of(*user);
  return *std::move(user);
}

int become(const User& user) {
  if (setgroups(user.groups.size(), user.groups.data()) != 0 || setresgid(user.gid, user.gid, user.gid) != 0 ||
      setresuid(user.uid, user.uid, user.uid) != 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
      !drop_inheritable())
    return errno;
  for (const auto& [variable, value] :
       {std::pair{"HOME", &user.home}, std::pair{"USER", &user.name}, std::pair{"LOGNAME", &user.name}})
    if (setenv(variable, value->c_str(), 1) != 0) return errno;
  return 0;
}

}  // namespace closewatch
