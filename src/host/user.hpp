// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_USER_HPP
#define CLOSEWATCH_HOST_USER_HPP

#include <closewatch/core/types.hpp>

#include <sys/types.h>

#include <expected>
#include <string>
#include <vector>

namespace closewatch {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  ///< supplementary ones
  std::string name;
  std::string home;
};

/// NAME or UID, with :GROUP (a name or a number) in place of the user's own group. An id that no user has needs a
/// group.
[[nodiscard]] std::expected<User, Error> find_user(const std::string& text);

/// Makes this process the user's for good: ids, supplementary groups, no capability left to inherit, and HOME, USER and
/// LOGNAME. The rest of the environment stays. Needs CAP_SETUID and CAP_SETGID. 0, or the errno.
[[nodiscard]] int become(const User& user);

}  // namespace closewatch

#endif
