// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_FOLDER_HPP
#define CLOSEWATCH_HOST_FOLDER_HPP

#include <dirent.h>

#include <filesystem>
#include <memory>

namespace closewatch {

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

/// Null where it cannot be opened; errno says why.
inline Folder open_folder(const std::filesystem::path& path) { return Folder{opendir(path.c_str())}; }

/// The name of the next entry but those that begin with a dot; null at the end. One that cannot be read any further
/// (its process has ended) is at its end.
inline const char* next_entry(DIR* folder) {
  while (const dirent* entry = readdir(folder))
    if (entry->d_name[0] != '.') return entry->d_name;
  return nullptr;
}

/// Calls `visit` with the name of each.
template <typename Visit>
void for_each_entry(DIR* folder, const Visit& visit) {
  while (const char* name = next_entry(folder)) visit(name);
}

}  // namespace closewatch

#endif
