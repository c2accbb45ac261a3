// SPDX-License-Identifier: BSD-2-Clause
// Which file a path leads to, where others can put names into its folders. Somebody else is `nobody`: it takes root to
// give him files; as anybody else the cases that need him say so.
#include "catch.hpp"
#include "tree.hpp"

#include "host/safe_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

using namespace closewatch;
using closewatch::test::Tree;

namespace {

constexpr uid_t nobody = 65534;
constexpr uid_t daemon_user = 1;

class Umask {
 public:
  explicit Umask(mode_t mask) : before_(umask(mask)) {}
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;
  ~Umask() { umask(before_); }

 private:
  mode_t before_;
};

bool can_give_files_away() {
  if (geteuid() == 0) return true;
  WARN("not root: nothing can be made somebody else's");
  return false;
}

void give(const std::filesystem::path& path, uid_t user) { REQUIRE(lchown(path.c_str(), user, user) == 0); }
void set_mode(const std::filesystem::path& path, mode_t mode) { REQUIRE(chmod(path.c_str(), mode) == 0); }

/// A folder as /tmp is, and one of our own beside it.
struct Place {
  Tree tree;
  std::filesystem::path open = tree.root() / "open";
  std::filesystem::path own = tree.root() / "own";
  Place() {
    tree.folder("open");
    tree.folder("own");
    set_mode(open, 01777);
  }
  [[nodiscard]] std::filesystem::path link(const std::string& name, const std::string& target, uid_t user) {
    tree.link(name, target);
    give(tree.root() / name, user);
    return tree.root() / name;
  }
};

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status{};
  REQUIRE(lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// Writes a word to it; empty, or why not.
std::string written(const std::filesystem::path& path, mode_t mode = 0644) {
  const auto file = open_for_writing(path.string(), mode);
  if (!file) return file.error().operation + " E" + std::to_string(file.error().code) + " " + file.error().remedy;
  REQUIRE((fcntl(file->get(), F_GETFD) & FD_CLOEXEC) != 0);
  REQUIRE((fcntl(file->get(), F_GETFL) & O_ACCMODE) == O_WRONLY);
  REQUIRE(::write(file->get(), "word", 4) == 4);
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a file that is made is nobody else's to write, whatever the umask", "[host][files]") {
  Place at;
  const Umask none{0};
  CHECK(written(at.own / "results").empty());
  CHECK(mode_of(at.own / "results") == 0644);
  CHECK(written(at.own / "recording", 0600).empty());
  CHECK(mode_of(at.own / "recording") == 0600);
  CHECK(written(at.own / "asked for too much", 0666).empty());
  CHECK(mode_of(at.own / "asked for too much") == 0644);
  const Umask strict{0077};
  CHECK(written(at.open / "strict").empty());
  CHECK(mode_of(at.open / "strict") == 0600);
}

TEST_CASE("a file that was there keeps its content and mode, unless what is written is for its owner alone",
          "[host][files]") {
  Place at;
  at.tree.file("own/file", "what was there");
  set_mode(at.own / "file", 0664);
  CHECK(written(at.own / "file").empty());
  CHECK(content(at.own / "file") == "word was there");
  CHECK(mode_of(at.own / "file") == 0664);
  CHECK(written(at.own / "file", 0600).empty());
  CHECK(mode_of(at.own / "file") == 0600);
}

TEST_CASE("ordinary links are followed, dangling ones too", "[host][files]") {
  Place at;
  at.tree.link("own/relative", "new");
  at.tree.link("own/absolute", (at.own / "folder/deep").string());
  at.tree.link("own/up", "folder/../folder/./last");
  at.tree.link("own/slashes", "folder//last2");
  at.tree.folder("own/folder");
  at.tree.link("to-own", "own");
  CHECK(written(at.own / "relative").empty());
  CHECK(content(at.own / "new") == "word");
  CHECK(written(at.own / "absolute").empty());
  CHECK(content(at.own / "folder/deep") == "word");
  CHECK(written(at.tree.root() / "to-own/up").empty());
  CHECK(content(at.own / "folder/last") == "word");
  CHECK(written(at.tree.root() / "to-own//./../to-own/slashes").empty());
  CHECK(content(at.own / "folder/last2") == "word");
}

TEST_CASE("a path is refused for the reasons that open() has", "[host][files]") {
  Place at;
  at.tree.link("own/round", "about");
  at.tree.link("own/about", "round");
  at.tree.file("own/file", "");
  at.tree.link("own/folder-link", "../open/");
  const auto code = [](const std::filesystem::path& path) {
    const auto file = open_for_writing(path.string(), 0644);
    return file ? 0 : file.error().code;
  };
  CHECK(code(at.own / "round") == ELOOP);
  CHECK(code(at.own / "round/below") == ELOOP);
  CHECK(code(at.own / "file/below") == ENOTDIR);
  CHECK(code(at.own / "no/file") == ENOENT);
  CHECK(code(at.own) == EISDIR);
  CHECK(code(at.own / "") == EISDIR);
  CHECK(code(at.own / ".") == EISDIR);
  CHECK(code(at.own / "..") == EISDIR);
  CHECK(code(at.own / "folder-link") == EISDIR);
  CHECK(code("/") == EISDIR);
  CHECK(code("") == ENOENT);
  CHECK(code(at.own / std::string(300, 'n')) == ENAMETOOLONG);
}

TEST_CASE("a path may be relative", "[host][files]") {
  Place at;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(at.own);
  CHECK(written("here").empty());
  CHECK(written("../open/there").empty());
  std::filesystem::current_path(before);
  CHECK(content(at.own / "here") == "word");
  CHECK(content(at.open / "there") == "word");
}

TEST_CASE("devices and the descriptors that we were given are written as ever", "[host][files]") {
  Place at;
  CHECK(written("/dev/null").empty());
  at.tree.file("own/given", "");
  set_mode(at.own / "given", 0664);
  const Descriptor given{::open((at.own / "given").c_str(), O_WRONLY | O_CLOEXEC)};
  CHECK(written("/proc/self/fd/" + std::to_string(given.get()), 0600).empty());
  CHECK(content(at.own / "given") == "word");
  CHECK(mode_of(at.own / "given") == 0664);
  CHECK(written("/dev/fd/" + std::to_string(given.get())).empty());
  // A folder of which we were given a descriptor, and a pipe: what such a link says is the name of no file.
  const Descriptor folder{::open(at.own.c_str(), O_PATH | O_CLOEXEC)};
  CHECK(written("/proc/self/fd/" + std::to_string(folder.get()) + "/below").empty());
  CHECK(content(at.own / "below") == "word");
  std::array<int, 2> pipe_ends{};
  REQUIRE(pipe2(pipe_ends.data(), O_CLOEXEC) == 0);
  const Descriptor reads{pipe_ends[0]};
  const Descriptor writes{pipe_ends[1]};
  CHECK(written("/proc/self/fd/" + std::to_string(writes.get())).empty());
  CHECK(has(written("/proc/self/fd/1000"), "E" + std::to_string(ENOENT)));
}

TEST_CASE("a folder that we were given is entered, though its path is closed to us", "[host][files]") {
  if (!can_give_files_away()) return;
  Place at;
  at.tree.folder("own/closed/inner");
  set_mode(at.own / "closed/inner", 0777);
  const Descriptor folder{::open((at.own / "closed/inner").c_str(), O_PATH | O_CLOEXEC)};
  set_mode(at.own / "closed", 0700);
  REQUIRE(seteuid(nobody) == 0);
  const auto by_path = open_for_writing((at.own / "closed/inner/new").string(), 0644);
  const auto by_descriptor = open_for_writing("/proc/self/fd/" + std::to_string(folder.get()) + "/new", 0644);
  REQUIRE(seteuid(0) == 0);
  CHECK(by_path.error().code == EACCES);
  CHECK(by_descriptor.has_value());
}

TEST_CASE("in a folder as /tmp is, a link of somebody else's is not followed, in any part of the path",
          "[host][files]") {
  if (!can_give_files_away()) return;
  Place at;
  at.tree.file("own/secret", "secret");
  at.tree.folder("own/sub");
  const auto last = at.link("open/last", (at.own / "secret").string(), nobody);
  const auto dangling = at.link("open/dangling", (at.own / "new").string(), nobody);
  const auto middle = at.link("open/middle", at.own.string(), nobody);
  const auto by_link = at.link("own/by-link", "../open/middle/secret", 0);
  for (const auto& path : {last, dangling, middle / "secret", middle / "new", middle / "sub/new", by_link}) {
    const std::string why = written(path);
    CHECK(has(why, "write to " + path.string() + " E" + std::to_string(EACCES)));
    CHECK(has(why, "is a symbolic link of somebody else's (uid 65534)"));
  }
  CHECK(content(at.own / "secret") == "secret");
  CHECK_FALSE(std::filesystem::exists(at.own / "new"));
  CHECK_FALSE(std::filesystem::exists(at.own / "sub/new"));
}

TEST_CASE("a link of ours, of the folder's owner, or in a folder that is not both sticky and everybody's is followed",
          "[host][files]") {
  if (!can_give_files_away()) return;
  Place at;
  CHECK(written(at.link("open/ours", (at.own / "ours").string(), 0)).empty());
  give(at.open, nobody);
  CHECK(written(at.link("open/owners", (at.own / "owners").string(), nobody)).empty());
  CHECK(has(written(at.link("open/third", (at.own / "third").string(), daemon_user)), "symbolic link"));
  set_mode(at.open, 0777);
  CHECK(written(at.open / "third").empty());
  set_mode(at.open, 01755);
  CHECK(written(at.open / "third").empty());
  CHECK(content(at.own / "third") == "word");
}

TEST_CASE("in a folder as /tmp is, a file or a FIFO of somebody else's is not written", "[host][files]") {
  if (!can_give_files_away()) return;
  Place at;
  at.tree.file("open/theirs", "theirs");
  give(at.open / "theirs", nobody);
  CHECK(has(written(at.open / "theirs"), "is somebody else's (uid 65534)"));
  CHECK(content(at.open / "theirs") == "theirs");
  // Opened, it would wait for a reader without end.
  REQUIRE(mkfifo((at.open / "fifo").c_str(), 0666) == 0);
  give(at.open / "fifo", nobody);
  CHECK(has(written(at.open / "fifo"), "is somebody else's"));
  // By a link of ours it is the same file in the same folder.
  CHECK(has(written(at.link("own/to-theirs", "../open/theirs", 0)), "is somebody else's"));
  set_mode(at.open, 01770);
  CHECK(has(written(at.open / "theirs"), "is somebody else's"));
  set_mode(at.open, 01755);
  CHECK(written(at.open / "theirs").empty());
  set_mode(at.open, 01777);
  give(at.open, nobody);
  CHECK(written(at.open / "theirs").empty());
}

TEST_CASE("a second name for a file of ours, put where everybody can, is not written", "[host][files]") {
  Place at;
  at.tree.file("own/secret", "secret");
  std::filesystem::create_hard_link(at.own / "secret", at.open / "name");
  CHECK(has(written(at.open / "name"), "has another name too"));
  CHECK(content(at.own / "secret") == "secret");
  CHECK(written(at.own / "secret").empty());
}

TEST_CASE("a FIFO of ours is written, in a folder as /tmp is too", "[host][files]") {
  Place at;
  REQUIRE(mkfifo((at.open / "fifo").c_str(), 0600) == 0);
  const Descriptor reader{::open((at.open / "fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  REQUIRE(reader.is_open());
  CHECK(written(at.open / "fifo").empty());
  std::array<char, 8> room{};
  CHECK(::read(reader.get(), room.data(), room.size()) == 4);
}
