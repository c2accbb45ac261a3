// SPDX-License-Identifier: BSD-2-Clause
// The child of `run`: what it sees, how it ends, and that it waits.
#include "catch.hpp"
#include "tree.hpp"

#include "host/command.hpp"
#include "host/machine.hpp"
#include "host/processes.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <iterator>
#include <set>
#include <sstream>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using Words = std::vector<std::string>;
constexpr int patience_ms = 20'000;

Command started(const Words& words, const std::optional<User>& user = std::nullopt,
                const SignalsBefore& signals = SignalsBefore::now()) {
  auto command = Command::start(words, user, signals);
  if (!command) FAIL(command.error().operation << ": " << command.error().code);
  return *std::move(command);
}

CommandEnd end_of(Command& command) {
  pollfd entry{command.pidfd(), POLLIN, 0};
  REQUIRE(poll(&entry, 1, patience_ms) == 1);
  const auto end = command.wait();
  REQUIRE(end);
  return *end;
}

CommandEnd ran(const Words& words, const std::optional<User>& user = std::nullopt,
               const SignalsBefore& signals = SignalsBefore::now()) {
  Command command = started(words, user, signals);
  command.release();
  return end_of(command);
}

/// What COMMAND prints.
std::string printed(const Tree& tree, const Words& words, const std::optional<User>& user = std::nullopt,
                    const SignalsBefore& signals = SignalsBefore::now()) {
  const std::filesystem::path path = tree.root() / "printed";
  // Opened by us, since COMMAND's user may not write into the folder.
  const Descriptor file{open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  const Descriptor before{fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
  REQUIRE(dup2(file.get(), STDOUT_FILENO) >= 0);
  const CommandEnd end = ran(words, user, signals);
  REQUIRE(dup2(before.get(), STDOUT_FILENO) >= 0);
  CHECK(end.exit_status() == 0);
  return read_file(path).value_or("");
}

/// Returns once it has stopped itself.
void wait_until_stopped(const Command& command) {
  siginfo_t info{};
  REQUIRE(waitid(P_PID, command.pid(), &info, WSTOPPED | WNOWAIT) == 0);
}

/// A signal's disposition and the mask as they were, at the end of a test that changes them.
class Restored {
 public:
  /// Whoever was started by Python ignores two of them.
  Restored() {
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
  }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;
  ~Restored() { before_.restore(); }

 private:
  SignalsBefore before_ = SignalsBefore::now();
};

bool may_change_user() {
  if (geteuid() == 0) return true;
  WARN("skipped: not root, so that no other user can be had");
  return false;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("command: its own exit status", "[host][command]") {
  for (const int status : {0, 1, 3, 126, 127, 255}) {
    const CommandEnd end = ran({"sh", "-c", "exit " + std::to_string(status)});
    CHECK_FALSE(end.signalled);
    CHECK(end.exit_status() == status);
    CHECK_FALSE(end.not_run);
  }
}

TEST_CASE("command: ended by a signal, as a shell tells it", "[host][command]") {
  const Restored restored;
  for (const int signal : {SIGTERM, SIGKILL, SIGINT, SIGPIPE}) {
    const CommandEnd end = ran({"sh", "-c", "kill -" + std::to_string(signal) + " $$"});
    CHECK(end.signalled);
    CHECK(end.number == signal);
    CHECK(end.exit_status() == 128 + signal);
  }
}

TEST_CASE("command: not found is 127, and says so", "[host][command]") {
  for (const char* name : {"closewatch-no-such-command", "/no/such/command", ""}) {
    const CommandEnd end = ran({name});
    CHECK(end.exit_status() == 127);
    REQUIRE(end.not_run);
    CHECK(end.not_run->code == ENOENT);
    CHECK(has(end.not_run->operation, name));
  }
}

TEST_CASE("command: found and not executable is 126", "[host][command]") {
  Tree tree;
  tree.file("plain", "just text");
  const CommandEnd plain = ran({(tree.root() / "plain").string()});
  CHECK(plain.exit_status() == 126);
  REQUIRE(plain.not_run);
  CHECK(plain.not_run->code == EACCES);
  CHECK(ran({tree.root().string()}).exit_status() == 126);
}

TEST_CASE("command: arguments arrive as they are", "[host][command]") {
  const Tree tree;
  const CommandEnd end = ran(
      {"sh", "-c", "[ \"$1\" = 'a  b' ] && [ \"$2\" = '*' ] && [ -z \"$3\" ] && [ $# = 3 ]", "name", "a  b", "*", ""});
  CHECK(end.exit_status() == 0);
}

TEST_CASE("command: nothing of it runs before the release", "[host][command]") {
  const Tree tree;
  const std::string mark = (tree.root() / "ran").string();
  const Words words{"/bin/sh", "-c", "echo ran > '" + mark + "'"};
  {
    const Command command = started(words);
    // Ready, and still ourselves: not execed.
    const std::string folder = "/proc/" + std::to_string(command.pid());
    CHECK(std::filesystem::read_symlink(folder + "/exe") == std::filesystem::read_symlink("/proc/self/exe"));
  }
  // Gone without a release: it has ended, and had it run anything the mark would be there.
  CHECK_FALSE(std::filesystem::exists(mark));
  CHECK(waitpid(-1, nullptr, WNOHANG) < 0);
  CHECK(ran(words).exit_status() == 0);
  CHECK(std::filesystem::exists(mark));
}

TEST_CASE("command: waited for without a release it ends, not run", "[host][command]") {
  Command command = started({"true"});
  CHECK_FALSE(command.released());
  const auto end = command.wait();
  REQUIRE(end);
  CHECK(end->exit_status() == 126);
  REQUIRE(end->not_run);
  CHECK(end->not_run->code == ECANCELED);
  CHECK(waitpid(-1, nullptr, WNOHANG) < 0);
}

TEST_CASE("command: one that was stopped while it waited still goes", "[host][command]") {
  {
    const Command command = started({"true"});
    command.send(SIGSTOP);
    wait_until_stopped(command);
  }
  CHECK(waitpid(-1, nullptr, WNOHANG) < 0);
}

TEST_CASE("command: one that ended while it waited can be released all the same", "[host][command]") {
  Command command = started({"true"});
  command.send(SIGTERM);
  pollfd entry{command.pidfd(), POLLIN, 0};
  REQUIRE(poll(&entry, 1, patience_ms) == 1);
  command.release();
  CHECK(end_of(command).exit_status() == 128 + SIGTERM);
}

TEST_CASE("command: stopped and continued, it has not ended", "[host][command]") {
  Command command = started({"sh", "-c", "kill -STOP $$; exit 7"});
  command.release();
  wait_until_stopped(command);
  pollfd entry{command.pidfd(), POLLIN, 0};
  CHECK(poll(&entry, 1, 0) == 0);
  command.send(SIGCONT);
  CHECK(end_of(command).exit_status() == 7);
}

TEST_CASE("command: the same process group, and we are its parent", "[host][command]") {
  const Tree tree;
  const auto text = printed(tree, {"cat", "/proc/self/stat"});
  const auto stat = parse_stat(text);
  REQUIRE(stat);
  CHECK(stat->parent == static_cast<std::uint32_t>(getpid()));
  CHECK(has(text, " " + std::to_string(getpgrp()) + " "));
}

TEST_CASE("command: no descriptor of ours reaches it, but those that we were given do", "[host][command]") {
  const Tree tree;
  std::set<std::string> allowed;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    const std::string name = entry.path().filename().string();
    const int flags = fcntl(std::stoi(name), F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) allowed.insert(name);
  }
  const Descriptor inherited{fcntl(STDIN_FILENO, F_DUPFD, 50)};
  REQUIRE(inherited.is_open());
  allowed.insert(std::to_string(inherited.get()));
  std::istringstream lines{printed(tree, {"ls", "-l", "/proc/self/fd"})};
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words{line};
    const std::vector<std::string> fields{std::istream_iterator<std::string>{words}, {}};
    // … NUMBER -> TARGET; the folder is what ls itself has open.
    if (fields.size() > 3 && fields[fields.size() - 2] == "->" && !fields.back().ends_with("/fd"))
      names.insert(fields[fields.size() - 3]);
  }
  for (const std::string& name : names) {
    CAPTURE(name);
    CHECK(allowed.count(name) == 1);
  }
  CHECK(names.count(std::to_string(inherited.get())) == 1);
}

TEST_CASE("command: signals are as they were when we were started", "[host][command]") {
  const Tree tree;
  const Restored restored;
  signal(SIGHUP, SIG_IGN);  // nohup closewatch …
  const SignalsBefore before = SignalsBefore::now();
  CHECK(before.ignored(SIGHUP));
  CHECK_FALSE(before.ignored(SIGPIPE));
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGUSR1, [](int) {});
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : passed_on) sigaddset(&blocked, signal);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  const std::string status = printed(tree, {"cat", "/proc/self/status"}, std::nullopt, before);
  CHECK(has(status, "SigBlk:\t0000000000000000"));
  CHECK(has(status, "SigIgn:\t0000000000000001"));
  CHECK(has(status, "SigCgt:\t0000000000000000"));
}

TEST_CASE("command: what was blocked before us stays blocked", "[host][command]") {
  const Tree tree;
  const Restored restored;
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  CHECK(has(printed(tree, {"cat", "/proc/self/status"}), "SigBlk:\t0000000000000800"));
}

TEST_CASE("command: its status is not lost where we were started with SIGCHLD ignored", "[host][command]") {
  const Tree tree;
  const Restored restored;
  signal(SIGHUP, SIG_DFL);  // under nohup it is not
  signal(SIGCHLD, SIG_IGN);
  const SignalsBefore before = SignalsBefore::now();
  CHECK(ran({"sh", "-c", "exit 5"}, std::nullopt, before).exit_status() == 5);
  CHECK(has(printed(tree, {"cat", "/proc/self/status"}, std::nullopt, before), "SigIgn:\t0000000000010000"));
}

TEST_CASE("command: a signal is passed on", "[host][command]") {
  Command command = started({"sh", "-c", "trap 'exit 9' USR1; kill -STOP $$; exit 1"});
  command.release();
  wait_until_stopped(command);
  command.send(SIGUSR1);
  command.send(SIGCONT);
  CHECK(end_of(command).exit_status() == 9);
}

TEST_CASE("signals: which are passed on", "[host][command]") {
  Tree tree;
  tree.process(1, 0, 1);
  tree.process(100, 1, 5);     // a shell
  tree.process(200, 100, 6);   // closewatch
  tree.process(300, 200, 7);   // COMMAND
  tree.process(301, 300, 8);   // its child
  tree.process(302, 301, 9);   // and grandchild
  tree.process(400, 100, 10);  // somebody else
  const auto passed = [&](int code, std::uint32_t sender) { return is_to_pass_on(tree.root(), 300, code, sender); };
  CHECK_FALSE(passed(SI_KERNEL, 0));  // the terminal's
  CHECK(passed(SI_USER, 100));
  CHECK(passed(SI_USER, 400));
  CHECK(passed(SI_QUEUE, 1));
  CHECK(passed(SI_USER, 200));
  CHECK(passed(SI_USER, 0));    // from an outer pid namespace
  CHECK(passed(SI_USER, 999));  // it has ended since
  CHECK_FALSE(passed(SI_USER, 300));
  CHECK_FALSE(passed(SI_USER, 301));
  CHECK_FALSE(passed(SI_USER, 302));
}

TEST_CASE("signals: a chain of parents that never ends is left", "[host][command]") {
  Tree tree;
  tree.process(5, 6, 1);
  tree.process(6, 5, 1);
  CHECK(is_to_pass_on(tree.root(), 300, SI_USER, 5));
}

TEST_CASE("user: names and numbers", "[host][user]") {
  const auto root = find_user("root");
  REQUIRE(root);
  CHECK(root->uid == 0);
  CHECK(root->gid == 0);
  CHECK(root->name == "root");
  CHECK(root->home == "/root");
  const auto by_number = find_user("0");
  REQUIRE(by_number);
  CHECK(by_number->name == "root");
  const auto nobody = find_user("nobody:root");
  REQUIRE(nobody);
  CHECK(nobody->uid != 0);
  CHECK(nobody->gid == 0);
  const auto nameless = find_user("54321:12345");
  REQUIRE(nameless);
  CHECK(nameless->uid == 54321);
  CHECK(nameless->gid == 12345);
  CHECK(nameless->groups == std::vector<gid_t>{12345});
  CHECK(nameless->home == "/");
}

TEST_CASE("user: refused, with the remedy", "[host][user]") {
  for (const char* text : {"closewatch-no-such-user", "", "-1", "4294967295:0", ":root", "54321",
                           "root:", "root:closewatch-no-such-group", "root:root:root", "1x"}) {
    CAPTURE(text);
    const auto user = find_user(text);
    REQUIRE_FALSE(user);
    CHECK(has(user.error().operation, text));
    CHECK_FALSE(user.error().remedy.empty());
  }
  CHECK(has(find_user("54321").error().remedy, "54321:GROUP"));
}

TEST_CASE("user: COMMAND is nobody, and no trace of root is left", "[host][user]") {
  if (!may_change_user()) return;
  const Tree tree;
  const auto nobody = find_user("nobody");
  REQUIRE(nobody);
  const std::string status = printed(tree, {"cat", "/proc/self/status"}, *nobody);
  const std::string uid = std::to_string(nobody->uid);
  const std::string gid = std::to_string(nobody->gid);
  CHECK(has(status, "Uid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\n"));
  CHECK(has(status, "Gid:\t" + gid + "\t" + gid + "\t" + gid + "\t" + gid + "\n"));
  CHECK(has(status, "Groups:\t" + gid + " \n"));
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    CHECK(has(status, std::string{set} + ":\t0000000000000000\n"));
}

TEST_CASE("user: the environment is kept, but for who it is", "[host][user]") {
  if (!may_change_user()) return;
  const Tree tree;
  const auto nobody = find_user("nobody");
  REQUIRE(nobody);
  setenv("CLOSEWATCH_UNIT", "kept", 1);
  const std::string seen = printed(tree, {"sh", "-c", "echo $USER,$LOGNAME,$HOME,$CLOSEWATCH_UNIT,$PATH"}, *nobody);
  unsetenv("CLOSEWATCH_UNIT");
  CHECK(seen == "nobody,nobody," + nobody->home + ",kept," + std::string{getenv("PATH")});
}

TEST_CASE("user: a folder of PATH that is closed to COMMAND's user makes nothing found", "[host][user]") {
  if (!may_change_user()) return;
  Tree tree;  // ours alone, as root's own folders are
  tree.file("plain", "just text");
  const auto nobody = find_user("nobody");
  REQUIRE(nobody);
  const std::string path = getenv("PATH");
  setenv("PATH", (tree.root().string() + ":" + path).c_str(), 1);
  const int missing = ran({"closewatch-no-such-command"}, *nobody).exit_status();
  const int hidden = ran({"plain"}, *nobody).exit_status();
  const int not_executable = ran({"plain"}).exit_status();
  setenv("PATH", path.c_str(), 1);
  CHECK(missing == 127);
  CHECK(hidden == 127);
  CHECK(not_executable == 126);
}

TEST_CASE("user: what may not be changed is refused before anything runs", "[host][user]") {
  if (!may_change_user()) return;
  // As nobody, in a child of our own: one that fails to become root.
  const pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    if (become(*find_user("nobody")) != 0) _exit(2);
    const auto command = Command::start({"true"}, find_user("root").value(), SignalsBefore::now());
    _exit(!command && command.error().code == EPERM && !command.error().remedy.empty() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
