// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SAFE_FILE_HPP
#define CLOSEWATCH_HOST_SAFE_FILE_HPP

// Files for results, opened so that nobody else can choose which one it is. Who may put names into a folder that
// everybody may write to (/tmp) could lead whoever runs closewatch, root as a rule, to any file of the machine's.

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/types.hpp>

#include <sys/types.h>

#include <expected>
#include <string>

namespace closewatch {

/// For writing, close-on-exec, made where there is none; what it held is left in it. `mode` is for a file that is made,
/// less the umask and what group and others could write; a `mode` that is the owner's alone holds for a regular file
/// that was there too. In a sticky folder that everybody may write to, a symbolic link is followed only where it is
/// ours or the folder's owner's, in any part of the path, whatever fs.protected_symlinks says; likewise a regular file
/// or a FIFO is written only where it is ours or that owner's (fs.protected_regular and _fifos at 2: group-writable
/// folders too), and a regular file only by its one name. Devices, links elsewhere and those of /proc/PID/fd are
/// followed as ever. A FIFO waits for its reader.
[[nodiscard]] std::expected<Descriptor, Error> open_for_writing(const std::string& path, mode_t mode);

/// One that there was not, for its owner alone: no name that is there already is followed, or written to.
[[nodiscard]] std::expected<Descriptor, Error> make_new_file(const std::string& path);

}  // namespace closewatch

#endif
