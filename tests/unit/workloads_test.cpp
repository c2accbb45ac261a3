// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/workloads.hpp>

using namespace closewatch;
using namespace closewatch::test;

namespace {

struct House {
  Processes processes{100};
  Listeners listeners{100};
  Workloads workloads{processes, listeners, 4};

  void resolve(const Identity& process, const std::string& exe, const std::string& cgroup = "/") {
    (void)processes.find(process);
    ProcessResolved answer;
    answer.key = process.key;
    answer.exec_id = process.exec_id;
    answer.details.exe = exe;
    answer.details.cgroup = cgroup;
    answer.details.container = "ab12cd34ef56";
    processes.resolve(answer);
  }
};

}  // namespace

TEST_CASE("the children of a fork-per-connection server are one workload", "[workloads]") {
  House house;
  house.resolve(person(1, "server"), "/bin/server", "/a");
  house.resolve(person(2, "server"), "/bin/server", "/a");
  Tuple other = incoming();
  other.peer = endpoint("10.0.0.10", 40001);
  const WorkloadId id = house.workloads.of(person(1, "server"), incoming());
  CHECK(id != 0);
  CHECK(house.workloads.of(person(2, "server"), other) == id);
  const Workload& workload = house.workloads[id];
  CHECK(workload.executable == "/bin/server");
  CHECK(workload.executable_known);
  CHECK(workload.cgroup == "/a");
  CHECK(workload.container == "ab12cd34ef56");
  CHECK(workload.service.side == Role::accept);
  CHECK(workload.service.endpoint == Endpoint{{}, 8080});
}

TEST_CASE("another executable, cgroup, port or remote end is another workload", "[workloads]") {
  House house;
  house.resolve(person(1, "a"), "/bin/a", "/a");
  house.resolve(person(2, "a"), "/bin/b", "/a");
  house.resolve(person(3, "a"), "/bin/a", "/b");
  const WorkloadId id = house.workloads.of(person(1, "a"), incoming());
  SECTION("executable") { CHECK(house.workloads.of(person(2, "a"), incoming()) != id); }
  SECTION("cgroup") { CHECK(house.workloads.of(person(3, "a"), incoming()) != id); }
  SECTION("port") {
    Tuple other = incoming();
    other.local.port = 8081;
    CHECK(house.workloads.of(person(1, "a"), other) != id);
  }
  SECTION("side") { CHECK(house.workloads.of(person(1, "a"), outgoing()) != id); }
}

TEST_CASE("the accepting side is its port on every address of both families", "[workloads]") {
  House house;
  const Tuple six = tuple(Role::accept, "2001:db8::7", 8080, "2001:db8::9", 40000);
  CHECK(house.workloads.of(server(), incoming()) == house.workloads.of(server(), six));
}

TEST_CASE("the connecting side is the remote end, from whichever port", "[workloads]") {
  House house;
  Tuple other = outgoing();
  other.local.port = 51235;
  const WorkloadId id = house.workloads.of(client(), outgoing());
  CHECK(house.workloads.of(client(), other) == id);
  CHECK(house.workloads[id].service.side == Role::connect);
  CHECK(house.workloads[id].service.endpoint == endpoint("10.0.0.5", 3306));
  other.peer.port = 3307;
  CHECK(house.workloads.of(client(), other) != id);
}

TEST_CASE("where the role is not known, a listener of the port tells it", "[workloads]") {
  House house;
  Tuple unknown = incoming();
  unknown.role = Role::unknown;
  SECTION("there is one") {
    house.listeners.opened(
        {.cookie = 80, .tuple = listening(), .process = server(), .acceptor = {}, .matched = false, .seen_ns = 1});
    CHECK(house.workloads[house.workloads.of(server(), unknown)].service.side == Role::accept);
  }
  SECTION("there is none") {
    CHECK(house.workloads[house.workloads.of(server(), unknown)].service.side == Role::connect);
  }
}

TEST_CASE("where /proc was too late the command name stands for the executable", "[workloads]") {
  House house;
  const WorkloadId id = house.workloads.of(person(1, "brief"), incoming());
  CHECK(house.workloads[id].executable == "brief");
  CHECK_FALSE(house.workloads[id].executable_known);
  SECTION("and is not mixed up with an executable of that name") {
    house.resolve(person(2, "brief"), "brief", "");
    CHECK(house.workloads.of(person(2, "brief"), incoming()) != id);
  }
  SECTION("after exec it is another program") {
    house.resolve(person(1, "brief", 1), "/bin/other", "");
    CHECK(house.workloads.of(person(1, "brief", 0), incoming()) == id);
    CHECK(house.workloads.of(person(1, "brief", 1), incoming()) != id);
  }
}

TEST_CASE("sockets of nobody known are a workload by their service", "[workloads]") {
  House house;
  const WorkloadId id = house.workloads.of(Identity{}, incoming());
  CHECK(id != 0);
  CHECK(house.workloads[id].executable.empty());
  CHECK(house.workloads.of(Identity{}, outgoing()) != id);
}

TEST_CASE("what finds no room is counted, and among the others", "[workloads]") {
  House house;
  Tuple tuple = outgoing();
  for (std::uint16_t port = 1; port <= 4; ++port) {
    tuple.peer.port = port;
    CHECK(house.workloads.of(client(), tuple) == port);
  }
  CHECK(house.workloads.refused() == 0);
  tuple.peer.port = 5;
  CHECK(house.workloads.of(client(), tuple) == 0);
  CHECK(house.workloads.refused() == 1);
  CHECK(house.workloads.size() == 5);
  tuple.peer.port = 1;
  CHECK(house.workloads.of(client(), tuple) == 1);
}
