// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "tree.hpp"

#include "host/sysctl_files.hpp"

#include <sys/stat.h>

using namespace closewatch;
using namespace closewatch::test;

namespace {

std::string told(const std::vector<SysctlLine>& lines) {
  std::string out;
  for (const SysctlLine& line : lines) out += line.file + ": " + line.name + "=" + line.value + "\n";
  return out;
}

std::string parsed(std::string_view text) {
  std::string out;
  for (const SysctlLine& line : parse_sysctl_file(text, "/f")) out += line.name + "=" + line.value + "\n";
  return out;
}

std::string configured(const Tree& tree) { return told(configured_sysctls(tree.root())); }

}  // namespace

TEST_CASE("lines of a sysctl file", "[host][sysctl]") {
  CHECK(parsed("net.ipv4.tcp_tw_reuse = 1\n") == "net.ipv4.tcp_tw_reuse=1\n");
  CHECK(parsed("  net.ipv4.tcp_tw_reuse\t=1  \r\n") == "net.ipv4.tcp_tw_reuse=1\n");
  CHECK(parsed("net.ipv4.ip_local_port_range=1024 65000") == "net.ipv4.ip_local_port_range=1024 65000\n");
  CHECK(parsed("# a=1\n ; b=2\n\n   \nc=3\n") == "c=3\n");
  CHECK(parsed("-net.core.somaxconn=5\n- x = 6") == "net.core.somaxconn=5\nx=6\n");
  CHECK(parsed("a=b=c\na=\n") == "a=b=c\na=\n");
  CHECK(parsed("a = 1 # kept, as the kernel would be given it") == "a=1 # kept, as the kernel would be given it\n");
}

TEST_CASE("slashes part names as dots do, whichever comes first", "[host][sysctl]") {
  CHECK(parsed("net/ipv4/tcp_tw_reuse=1") == "net.ipv4.tcp_tw_reuse=1\n");
  CHECK(parsed("/net/ipv4/tcp_tw_reuse=1") == "net.ipv4.tcp_tw_reuse=1\n");
  CHECK(parsed("net/ipv4/conf/eth0.100/x=1") == "net.ipv4.conf.eth0/100.x=1\n");
  CHECK(parsed("net.ipv4.conf.eth0/100.x=1") == "net.ipv4.conf.eth0/100.x=1\n");
}

TEST_CASE("what is no setting of one name is left out", "[host][sysctl]") {
  for (const char* text : {"", "=1", " = 1", "/=1", "net.ipv4.tcp_tw_reuse", "-net.ipv4.conf.all.x", "-",
                           "-=", "net.ipv4.conf.*.x=1", "net.ipv4.conf.eth?.x=1", "net.ipv4.conf.[ab].x=1"}) {
    CAPTURE(text);
    CHECK(parsed(text).empty());
  }
  CHECK(parsed(std::string_view{"\0\xff\n\0=\xff", 6}).size() == 4);
}

TEST_CASE("a long file is read to its end", "[host][sysctl]") {
  Tree tree;
  std::string text(300'000, '#');
  text.append(100'000, '\n').append("net.core.somaxconn=7");
  tree.file("etc/sysctl.d/a.conf", text);
  CHECK(configured(tree) == "/etc/sysctl.d/a.conf: net.core.somaxconn=7\n");
}

TEST_CASE("only what is of TCP, by name", "[host][sysctl]") {
  Tree tree;
  tree.file("etc/sysctl.d/a.conf",
            "vm.swappiness=1\nnet.netfilter.nf_conntrack_max=2\nnet.ipv6.x=3\nnet.ipv4.tcp_b=4\nnet.ipv4.tcp_a=5\n"
            "net.core.somaxconn=6\nnet.ipv4x.a=7\nnet.unix.max_dgram_qlen=8\n");
  CHECK(configured(tree) ==
        "/etc/sysctl.d/a.conf: net.core.somaxconn=6\n/etc/sysctl.d/a.conf: net.ipv4.tcp_a=5\n"
        "/etc/sysctl.d/a.conf: net.ipv4.tcp_b=4\n/etc/sysctl.d/a.conf: net.netfilter.nf_conntrack_max=2\n");
}

TEST_CASE("of files of one name the first folder's counts", "[host][sysctl]") {
  Tree tree;
  const std::vector<std::string> folders{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d",
                                         "lib/sysctl.d"};
  for (const std::string& folder : folders) tree.file(folder + "/50-x.conf", "net.ipv4.tcp_a=" + folder + "\n");
  for (const std::string& folder : folders) {
    CHECK(configured(tree) == "/" + folder + "/50-x.conf: net.ipv4.tcp_a=" + folder + "\n");
    tree.remove(folder + "/50-x.conf");
  }
  CHECK(configured(tree).empty());
}

TEST_CASE("of files of other names the last counts, whatever its folder; of lines the last", "[host][sysctl]") {
  Tree tree;
  tree.file("usr/lib/sysctl.d/90-late.conf", "net.ipv4.tcp_a=late\n");
  tree.file("etc/sysctl.d/10-early.conf", "net.ipv4.tcp_a=early\nnet.ipv4.tcp_b=1\nnet/ipv4/tcp_b=2\n");
  CHECK(configured(tree) ==
        "/usr/lib/sysctl.d/90-late.conf: net.ipv4.tcp_a=late\n/etc/sysctl.d/10-early.conf: net.ipv4.tcp_b=2\n");
}

TEST_CASE("a file is masked by a link to /dev/null, and by an empty one", "[host][sysctl]") {
  Tree tree;
  tree.file("usr/lib/sysctl.d/50-x.conf", "net.ipv4.tcp_a=1\n");
  SECTION("a link") { tree.link("etc/sysctl.d/50-x.conf", "/dev/null"); }
  SECTION("an empty file") { tree.file("etc/sysctl.d/50-x.conf", ""); }
  CHECK(configured(tree).empty());
}

TEST_CASE("/etc/sysctl.conf comes last, also where a link in sysctl.d has it", "[host][sysctl]") {
  Tree tree;
  tree.file("etc/sysctl.d/zz.conf", "net.ipv4.tcp_a=1\n");
  tree.file("etc/sysctl.conf", "net.ipv4.tcp_a=2\n");
  tree.link("etc/sysctl.d/99-sysctl.conf", "../sysctl.conf");
  CHECK(configured(tree) == "/etc/sysctl.conf: net.ipv4.tcp_a=2\n");
}

TEST_CASE("other names, folders and pipes are not read", "[host][sysctl]") {
  Tree tree;
  tree.file("etc/sysctl.d/README", "net.ipv4.tcp_a=1\n");
  tree.file("etc/sysctl.d/x.conf.bak", "net.ipv4.tcp_a=1\n");
  tree.file("etc/sysctl.d/conf", "net.ipv4.tcp_a=1\n");
  tree.folder("etc/sysctl.d/folder.conf");
  REQUIRE(mkfifo((tree.root() / "etc/sysctl.d/pipe.conf").c_str(), 0600) == 0);
  tree.link("etc/sysctl.d/dangling.conf", "/nowhere/at/all");
  CHECK(configured(tree).empty());
}
