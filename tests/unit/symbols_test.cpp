// SPDX-License-Identifier: BSD-2-Clause
// Addresses of this very program, and of made-up processes, in words.
#include "catch.hpp"
#include "symbols_inlined.hpp"
#include "tree.hpp"

#include "host/process_files.hpp"
#include "host/processes.hpp"
#include "host/symbol_message.hpp"
#include "host/symbols.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>

using namespace closewatch;
using namespace closewatch::test;

namespace closewatch::test {

/// Its own line is where it is looked for.
constexpr std::uint32_t line_of_known_function = __LINE__ + 1;
[[gnu::noinline]] std::uint64_t known_function(const std::string& text, int) { return text.size() * 3; }

}  // namespace closewatch::test

namespace {

template <typename Function>
std::uint64_t address_of(Function* function) {
  return reinterpret_cast<std::uint64_t>(function);
}

ProcessTicks self() {
  const auto now = process_now("/", static_cast<std::uint32_t>(getpid()));
  REQUIRE(now);
  return *now;
}

Frame look_up_one(Symbols& symbols, const ProcessTicks& process, std::uint64_t address) {
  const std::array addresses{address};
  const auto frames = symbols.look_up(process, 0, addresses);
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].address == address);
  return frames[0];
}

/// A return address in a function, some bytes behind its beginning.
constexpr std::uint64_t within = 2;

Frame only_address(std::uint64_t address) {
  Frame frame;
  frame.address = address;
  return frame;
}

std::string last_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// A child that runs a copy of cat, and ends with the test. Once it has answered, all its libraries are loaded.
class Child {
 public:
  explicit Child(const std::filesystem::path& program) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    REQUIRE(pipe2(in.data(), O_CLOEXEC) == 0);
    REQUIRE(pipe2(out.data(), O_CLOEXEC) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      execl(program.c_str(), "cat", nullptr);
      _exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    input_ = in[1];
    char byte = 'x';
    const bool answered = ::write(input_, &byte, 1) == 1 && ::read(out[0], &byte, 1) == 1;
    ::close(out[0]);
    REQUIRE(answered);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }
  [[nodiscard]] ProcessTicks process() const {
    const auto now = process_now("/", static_cast<std::uint32_t>(pid_));
    REQUIRE(now);
    return *now;
  }
  void end() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    ::close(input_);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
};

/// The one child of this thread: the worker, once it has been asked.
int worker_of_this_thread() {
  int worker = 0;
  std::ifstream{"/proc/self/task/" + std::to_string(gettid()) + "/children"} >> worker;
  REQUIRE(worker > 0);
  return worker;
}

/// Leaves a process no CPU for a while: it may run where another is busy, and only when that one is not.
class Starved {
 public:
  Starved(pid_t process, std::chrono::milliseconds how_long) {
    cpu_set_t ours;
    REQUIRE(sched_getaffinity(0, sizeof(ours), &ours) == 0);
    std::size_t cpu = 0;
    while (!CPU_ISSET(cpu, &ours)) ++cpu;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    const sched_param none{};
    REQUIRE(sched_setaffinity(process, sizeof(one), &one) == 0);
    REQUIRE(sched_setscheduler(process, SCHED_IDLE, &none) == 0);
    busy_ = fork();
    if (busy_ != 0) return;
    sched_setaffinity(0, sizeof(one), &one);
    setpriority(PRIO_PROCESS, 0, -20);
    const auto end = std::chrono::steady_clock::now() + how_long;
    while (std::chrono::steady_clock::now() < end) {
    }
    // As anybody from then on: whatever else the machine has to do is not to starve it any longer.
    sched_setscheduler(process, SCHED_OTHER, &none);
    sched_setaffinity(process, sizeof(ours), &ours);
    _exit(0);
  }
  Starved(const Starved&) = delete;
  Starved& operator=(const Starved&) = delete;
  ~Starved() {
    kill(busy_, SIGKILL);
    waitpid(busy_, nullptr, 0);
  }

 private:
  pid_t busy_ = -1;
};

}  // namespace

TEST_CASE("symbols: a function of this program", "[host][symbols]") {
  Symbols symbols{"/"};
  const Frame frame = look_up_one(symbols, self(), address_of(&known_function) + within);
  CHECK(frame.function ==
        "closewatch::test::known_function(std::__cxx11::basic_string<char, std::char_traits<char>, "
        "std::allocator<char> > const&, int)");
  CHECK(last_name(frame.file) == "symbols_test.cpp");
  CHECK(frame.line == line_of_known_function);
  CHECK(frame.module == std::filesystem::read_symlink("/proc/self/exe").string());
  CHECK(frame.offset != 0);
}

TEST_CASE("symbols: the innermost of inlined functions", "[host][symbols]") {
  Symbols symbols{"/"};
  const Frame frame = look_up_one(symbols, self(), return_address_in_inlined());
  CHECK(frame.function.find("inner_of_the_inlined") != std::string::npos);
  CHECK(last_name(frame.file) == "symbols_inlined.cpp");
  CHECK(frame.line == line_of_inlined_call());
}

TEST_CASE("symbols: a function of a shared object", "[host][symbols]") {
  Symbols symbols{"/"};
  // Not &read, which a sanitizer has one of its own for.
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(libc != nullptr);
  const Frame frame = look_up_one(symbols, self(), reinterpret_cast<std::uint64_t>(dlsym(libc, "getppid")) + within);
  dlclose(libc);
  // By libc's own debugging information, where it is installed.
  CHECK((frame.function == "getppid" || frame.function == "__getppid"));
  CHECK(last_name(frame.module).starts_with("libc"));
  CHECK(frame.build_id.size() >= 16);
  CHECK(frame.build_id.find_first_not_of("0123456789abcdef") == std::string::npos);
}

TEST_CASE("symbols: the byte before a return address is looked up", "[host][symbols]") {
  Symbols symbols{"/"};
  Tree tree;
  tree.process(9, 1, 5);
  tree.file("proc/9/maps", "1000-2000 r-xp 00000000 00:00 0 [code]\n");
  Symbols others{tree.root()};
  CHECK(look_up_one(others, {9, 5}, 0x2000).module == "[code]");
  CHECK(look_up_one(others, {9, 5}, 0x2000).offset == 0x1000);
  CHECK(look_up_one(others, {9, 5}, 0x1000) == only_address(0x1000));
  // Where a function calls one that does not return, the address after the call may be another function's.
  const std::uint64_t after = address_of(&known_function);
  CHECK(look_up_one(symbols, self(), after).function.find("known_function") == std::string::npos);
  CHECK(look_up_one(symbols, self(), after + 1).function.find("known_function") != std::string::npos);
}

TEST_CASE("symbols: what is no code has an address alone", "[host][symbols]") {
  Symbols symbols{"/"};
  const int variable = 0;
  for (const std::uint64_t address : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0},
                                      reinterpret_cast<std::uint64_t>(&variable), std::uint64_t{0xdeadbeef}})
    CHECK(look_up_one(symbols, self(), address) == only_address(address));
}

TEST_CASE("symbols: one frame an address, in their order", "[host][symbols]") {
  Symbols symbols{"/"};
  const std::uint64_t known = address_of(&known_function) + within;
  const std::array addresses{std::uint64_t{7}, known, std::uint64_t{7}, known};
  const auto frames = symbols.look_up(self(), 0, addresses);
  REQUIRE(frames.size() == 4);
  CHECK(frames[0] == only_address(7));
  CHECK(frames[1] == look_up_one(symbols, self(), known));
  CHECK(frames[2] == frames[0]);
  CHECK(frames[3] == frames[1]);
  CHECK(symbols.look_up(self(), 0, {}).empty());
}

TEST_CASE("symbols: a process that is gone, and one whose pid is another's", "[host][symbols]") {
  Symbols symbols{"/"};
  const std::uint64_t address = address_of(&known_function) + within;
  const ProcessTicks now = self();
  CHECK(look_up_one(symbols, {now.pid, now.start_ticks + 1}, address) == only_address(address));
  CHECK(look_up_one(symbols, {now.pid, now.start_ticks - 1}, address) == only_address(address));
  CHECK(look_up_one(symbols, {0x7fffffff, 1}, address) == only_address(address));
}

TEST_CASE("symbols: a deleted program, and a process that was remembered", "[host][symbols]") {
  Tree tree;
  const std::filesystem::path copy = tree.root() / "program";
  std::filesystem::copy_file("/bin/cat", copy);
  Symbols early{"/"};
  Symbols late{"/"};
  Child child{copy};
  tree.remove("program");
  const ProcessTicks process = child.process();
  const auto mappings = executable_mappings("/", process);
  REQUIRE(mappings);
  REQUIRE(!mappings->empty());
  const std::uint64_t own = mappings->front().start + 16;
  const Frame frame = look_up_one(early, process, own);
  CHECK(frame.module == copy.string() + " (deleted)");
  CHECK(!frame.build_id.empty());

  // libc is still there when the process is not.
  std::uint64_t libc = 0;
  for (const Mapping& mapping : *mappings)
    if (last_name(mapping.name).starts_with("libc")) libc = mapping.start + 16;
  REQUIRE(libc != 0);
  Symbols unasked{"/"};
  unasked.remember(process, 0);
  child.end();
  CHECK(look_up_one(early, process, own) == frame);
  CHECK(!look_up_one(unasked, process, libc).build_id.empty());
  CHECK(look_up_one(unasked, process, own).module == frame.module);
  CHECK(look_up_one(late, process, own) == only_address(own));
}

TEST_CASE("symbols: a library that was loaded since", "[host][symbols]") {
  Symbols symbols{"/"};
  CHECK(!look_up_one(symbols, self(), address_of(&known_function) + within).function.empty());
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  void* later = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  close(fd);
  REQUIRE(later != MAP_FAILED);
  CHECK(look_up_one(symbols, self(), reinterpret_cast<std::uint64_t>(later) + 1).module ==
        std::filesystem::read_symlink("/proc/self/exe").string());
  munmap(later, size);
}

TEST_CASE("symbols: more processes than are kept", "[host][symbols]") {
  Tree tree;
  Symbols symbols{tree.root()};
  for (std::uint32_t pid = 1; pid <= 300; ++pid) {
    tree.process(pid, 1, 5);
    tree.file("proc/" + std::to_string(pid) + "/maps", "1000-2000 r-xp 00000000 00:00 0 [code]\n");
    symbols.remember({pid, 5}, 0);
  }
  CHECK(symbols.evicted() == 300 - 256);
  tree.remove("proc");
  CHECK(look_up_one(symbols, {44, 5}, 0x1800) == only_address(0x1800));
  CHECK(look_up_one(symbols, {45, 5}, 0x1800).module == "[code]");
}

TEST_CASE("symbols: each program of a process has its own memory", "[host][symbols]") {
  Tree tree;
  Symbols symbols{tree.root()};
  tree.process(9, 1, 5);
  tree.file("proc/9/maps", "1000-2000 r-xp 00000000 00:00 0 [first]\n");
  symbols.remember({9, 5}, 1);
  tree.file("proc/9/maps", "1000-2000 r-xp 00000000 00:00 0 [second]\n");
  const std::array addresses{std::uint64_t{0x1800}};
  CHECK(symbols.look_up({9, 5}, 1, addresses)[0].module == "[first]");
  CHECK(symbols.look_up({9, 5}, 2, addresses)[0].module == "[second]");
}

TEST_CASE("symbols: files that are no programs", "[host][symbols]") {
  Tree tree;
  tree.process(9, 1, 5);
  tree.folder("proc/9/root/lib");
  const auto mapped = [&](const std::string& name) {
    struct stat status{};
    REQUIRE(stat((tree.root() / "proc/9/root" / name).c_str(), &status) == 0);
    tree.file("proc/9/maps", "1000-9000 r-xp 00000000 00:00 " + std::to_string(status.st_ino) + " /" + name + "\n");
    Symbols symbols{tree.root()};
    return look_up_one(symbols, {9, 5}, 0x1801);
  };
  const auto plain = [&](const std::string& name) {
    Frame frame = only_address(0x1801);
    frame.module = "/" + name;
    frame.offset = 0x801;
    return frame;
  };

  std::string program;
  {
    std::ifstream in{"/bin/sleep", std::ios::binary};
    program.assign(std::istreambuf_iterator<char>{in}, {});
  }
  tree.file("proc/9/root/lib/whole", program);
  const Frame whole = mapped("lib/whole");
  CHECK(!whole.build_id.empty());

  tree.file("proc/9/root/lib/empty", "");
  CHECK(mapped("lib/empty") == plain("lib/empty"));
  tree.file("proc/9/root/lib/text", "#!/bin/sh\n");
  CHECK(mapped("lib/text") == plain("lib/text"));
  // Opening one of these would wait.
  REQUIRE(mkfifo((tree.root() / "proc/9/root/lib/fifo").c_str(), 0600) == 0);
  CHECK(mapped("lib/fifo") == plain("lib/fifo"));
  // Cut and broken anywhere: any answer will do, as long as there is one.
  for (std::size_t size = 1; size < program.size(); size = size * 5 / 3 + 1) {
    tree.file("proc/9/root/lib/cut", std::string_view{program}.substr(0, size));
    CHECK(mapped("lib/cut").module == "/lib/cut");
  }
  std::uint32_t random = 1;
  for (int round = 0; round < 200; ++round) {
    std::string broken = program;
    for (int count = 0; count < 40; ++count) {
      random = random * 1664525 + 1013904223;
      const std::size_t range = round % 2 == 0 ? 1024 : broken.size();
      broken[(random >> 8) % range] = static_cast<char>(random >> 3);
    }
    tree.file("proc/9/root/lib/broken", broken);
    CHECK(mapped("lib/broken").module == "/lib/broken");
  }
}

TEST_CASE("symbols: a worker that was ended is started anew", "[host][symbols]") {
  Symbols symbols{"/"};
  const std::uint64_t address = address_of(&known_function) + within;
  const Frame frame = look_up_one(symbols, self(), address);
  const int worker = worker_of_this_thread();
  REQUIRE(kill(worker, SIGKILL) == 0);
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(worker), &info, WEXITED | WNOWAIT) == 0);
  CHECK(look_up_one(symbols, self(), address + 1).function == frame.function);
  CHECK(symbols.failed() == 0);
}

TEST_CASE("symbols: a worker that others leave no CPU is waited for", "[host][symbols]") {
  Symbols symbols{"/"};
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(libc != nullptr);
  const auto elsewhere = reinterpret_cast<std::uint64_t>(dlsym(libc, "getppid")) + within;
  dlclose(libc);
  CHECK(!look_up_one(symbols, self(), elsewhere).build_id.empty());
  // Longer than any file may take.
  int called = 0;
  symbols.while_waiting([&] { ++called; });
  const Starved starved{worker_of_this_thread(), std::chrono::seconds{4}};
  CHECK(!look_up_one(symbols, self(), address_of(&known_function) + within).function.empty());
  CHECK(symbols.failed() == 0);
  CHECK(called > 10);  // the ring is emptied meanwhile
}

TEST_CASE("symbols: a worker that waits for ever is given up", "[host][symbols]") {
  Symbols symbols{"/"};
  const std::uint64_t address = address_of(&known_function) + within;
  CHECK(!look_up_one(symbols, self(), address).function.empty());
  REQUIRE(kill(worker_of_this_thread(), SIGSTOP) == 0);
  CHECK(look_up_one(symbols, self(), address + 1).function.empty());
  CHECK(symbols.failed() == 1);
}

TEST_CASE("symbols: a program that breaks its reader costs its own names alone", "[host][symbols]") {
  Tree tree;
  tree.process(9, 1, 5);
  tree.folder("proc/9/root");
  const std::filesystem::path harmful = tree.root() / "proc/9/root/harmful";
  const std::filesystem::path other = tree.root() / "proc/9/root/other";
  std::string maps;
  for (const std::filesystem::path& path : {harmful, other}) {
    std::filesystem::copy_file("/bin/cat", path);
    struct stat status{};
    REQUIRE(stat(path.c_str(), &status) == 0);
    const std::string start = path == harmful ? "10000" : "80000";
    maps += start + "-" + (path == harmful ? "70000" : "f0000") + " r-xp 00000000 00:00 " +
            std::to_string(status.st_ino) + " /" + path.filename().string() + "\n";
  }
  tree.file("proc/9/maps", maps);
  Symbols symbols{tree.root()};
  const Frame before = look_up_one(symbols, {9, 5}, 0x13000);
  CHECK(!before.build_id.empty());
  // What is mapped of a file that has become shorter ends its reader with SIGBUS.
  REQUIRE(truncate(harmful.c_str(), 0) == 0);
  const Frame after = look_up_one(symbols, {9, 5}, 0x13100);
  CHECK(symbols.failed() == 1);
  CHECK(after.module == "/harmful");
  CHECK(after.build_id.empty());
  CHECK(after.offset == 0x3100);
  CHECK(!look_up_one(symbols, {9, 5}, 0x83000).build_id.empty());
  // It is not asked for again, even where it looks well by now, and what was known stays.
  std::filesystem::copy_file("/bin/cat", harmful, std::filesystem::copy_options::overwrite_existing);
  CHECK(look_up_one(symbols, {9, 5}, 0x13200).build_id.empty());
  CHECK(look_up_one(symbols, {9, 5}, 0x13000) == before);
  CHECK(symbols.failed() == 1);
}

TEST_CASE("symbols: the worker goes with those who asked", "[host][symbols]") {
  {
    Symbols symbols{"/"};
    static_cast<void>(look_up_one(symbols, self(), address_of(&known_function) + within));
  }
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("symbols: what the worker says is not believed unseen", "[host][symbols]") {
  const CodePlace place{.build_id = "ab", .address = 7, .location = {.function = "f", .file = "g.c", .line = 9}};
  const std::string packet = encoded(place);
  const auto same = decoded(packet);
  REQUIRE(same);
  CHECK(same->build_id == "ab");
  CHECK(same->address == 7);
  CHECK(same->location.function == "f");
  CHECK(same->location.file == "g.c");
  CHECK(same->location.line == 9);
  CHECK_FALSE(decoded(packet + "x"));
  for (std::size_t size = 0; size < packet.size(); ++size)
    CHECK_FALSE(decoded(std::string_view{packet}.substr(0, size)));
  CHECK_FALSE(decoded(std::string(packet.size(), '\xff')));
  CHECK(encoded(
            {.build_id = {}, .address = {}, .location = {.function = std::string(100'000, 'f'), .file = {}, .line = 0}})
            .size() < reply_limit);
}

TEST_CASE("symbols: a file by the same name that is another is not believed", "[host][symbols]") {
  Tree tree;
  tree.process(9, 1, 5);
  tree.folder("proc/9/root/lib");
  std::filesystem::copy_file("/bin/sleep", tree.root() / "proc/9/root/lib/program");
  tree.file("proc/9/maps", "1000-9000 r-xp 00000000 00:00 1 /lib/program\n");
  Symbols symbols{tree.root()};
  CHECK(look_up_one(symbols, {9, 5}, 0x1801).build_id.empty());
}

TEST_CASE("symbols: no link leads out of a process's root", "[host][symbols]") {
  Tree tree;
  tree.file("outside/file", "x");
  tree.folder("proc/9/root/dir");
  tree.link("proc/9/root/link", "/outside");
  tree.link("proc/9/root/relative", "../../../outside");
  tree.link("proc/9/root/dir/last", "/dir/file");
  tree.file("proc/9/root/dir/file", "x");
  CHECK(open_within(tree.root(), 9, "/dir/file"));
  CHECK(open_within(tree.root(), 9, "/dir/../../dir/file"));
  CHECK_FALSE(open_within(tree.root(), 9, "/link/file"));
  CHECK_FALSE(open_within(tree.root(), 9, "/relative/file"));
  CHECK_FALSE(open_within(tree.root(), 9, "/../../../outside/file"));
  CHECK_FALSE(open_within(tree.root(), 9, "/dir/last"));
  CHECK_FALSE(open_within(tree.root(), 9, "/dir"));
  CHECK_FALSE(open_within(tree.root(), 10, "/dir/file"));
}

TEST_CASE("stacks that are cut short", "[host][symbols]") {
  const auto frame = [](std::string_view function, std::string_view module = "/bin/server") {
    Frame made;
    made.function = function;
    made.module = module;
    return made;
  };
  const std::string_view libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
  CHECK(looks_cut_short({}));
  CHECK(looks_cut_short({frame("recv", libc)}));
  CHECK(looks_cut_short({frame("recv", libc), frame("handler")}));
  CHECK(looks_cut_short({frame("recv", libc), frame("", libc), frame("handler")}));
  CHECK(looks_cut_short({frame("", libc)}));
  CHECK(looks_cut_short({frame("recv", libc), frame("", ""), frame("", "")}));
  CHECK_FALSE(looks_cut_short({frame("recv", libc), frame("handler"), frame("main")}));
  CHECK_FALSE(looks_cut_short({frame("recv", libc), frame("handler"), frame("start_thread", libc)}));
  CHECK_FALSE(looks_cut_short({frame("recv", libc), frame("_start"), frame("", "")}));
  // Stripped, both: what calls main() has no name.
  CHECK_FALSE(looks_cut_short({frame("", libc), frame(""), frame("", libc)}));
}
