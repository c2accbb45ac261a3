// SPDX-License-Identifier: BSD-2-Clause
#include "top_scene.hpp"

namespace closewatch::test {

Leaking::Leaking(std::uint64_t count) {
  row(State::listen, server(), listening());
  for (std::uint64_t at = 1; at <= count; ++at)
    judged(leaked_socket(at, server(),
                         tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.9", static_cast<std::uint16_t>(40'000 + at)),
                         (40 + at) * seconds))
        .holders = {holder(server(), static_cast<std::uint32_t>(6 + at))};
  input.trend = [](WorkloadId, Kind) { return std::optional{Trend::growing}; };
  input.descriptors[server().key] = {count + 6, 1024, count, std::nullopt};
  for (std::uint16_t port = 40'001; port <= 40'012; ++port) closed_into_bucket(client(), outgoing_from(port));
}

void add_crowd(Scene& scene, std::uint32_t count) {
  for (std::uint32_t at = 0; at < count; ++at) {
    const Identity one = person(2000 + at, "worker" + std::to_string(at));
    scene.is(one, {.exe = "/srv/worker" + std::to_string(at), .cmdline = {}, .cgroup = "/w.slice", .container = {}});
    scene.row(State::established, one, outgoing_from(static_cast<std::uint16_t>(10'000 + at)));
  }
}

TopView seen(std::initializer_list<std::uint64_t> leaks) {
  TopHistory history;
  TopView view;
  std::uint64_t now_ns = Scene::now_ns;
  std::uint64_t events = 0;
  for (const std::uint64_t count : leaks)
    view = history.refresh(Leaking{count}.report(), events += 1234, now_ns += seconds);
  return view;
}

TopView seen(const Scene& scene) {
  TopHistory history;
  return history.refresh(scene.report(), 0, Scene::now_ns);
}

}  // namespace closewatch::test
