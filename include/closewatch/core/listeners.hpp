// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_LISTENERS_HPP
#define CLOSEWATCH_CORE_LISTENERS_HPP

#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>

#include <deque>
#include <unordered_map>

namespace closewatch {

struct Listener {
  std::uint64_t cookie = 0;
  Tuple tuple;
  Identity process;  ///< who called listen(), or holds it; pid 0 where unknown
  Identity acceptor;  ///< who last accepted from it; pid 0 where nobody was seen to
  bool matched = false;
  std::uint64_t seen_ns = 0;  ///< when it began to listen, or the last row that met it
};

/// Who listens where: names what was never accepted, and buckets from before the start.
class Listeners {
 public:
  explicit Listeners(std::size_t limit) : limit_(limit) {}

  void opened(const Listener& listener);
  /// What came in on it was used by this process first.
  void accepted(std::uint64_t cookie, const Identity& acceptor);
  /// It listens no more. Who closed it is remembered for the children that die with it.
  void closed(std::uint64_t cookie, const Tuple& tuple, const std::optional<Closer>& closer);
  /// A walk is done: who was not met has gone unseen. `lost`: so may have who could not be met.
  void forget_unseen(const WalkDone& done, bool lost);

  [[nodiscard]] const Listener* by_cookie(std::uint64_t cookie) const;
  /// The listener that a connection with this local end came in on, if there is one.
  [[nodiscard]] const Listener* by_local_end(const Tuple& tuple) const;
  [[nodiscard]] std::optional<Closer> closer_of(std::uint64_t cookie) const;
  /// Who closed the listener that had this local end, of late.
  [[nodiscard]] std::optional<Closer> closer_of_local_end(const Tuple& tuple) const;
  /// Listeners that found no room.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  void erase(std::uint64_t cookie);
  void forget_place(const Listener& listener);
  static std::uint64_t place(const Tuple& tuple) { return (std::uint64_t{tuple.netns} << 16U) | tuple.local.port; }

  std::size_t limit_;
  std::unordered_map<std::uint64_t, Listener> listeners_;
  std::unordered_multimap<std::uint64_t, std::uint64_t> places_;  ///< (namespace, port) → cookie
  struct Gone {
    Tuple tuple;
    Closer closer;
  };
  std::unordered_map<std::uint64_t, Gone> gone_;                  ///< listeners closed of late
  std::deque<std::uint64_t> closed_;                              ///< their cookies, longest ago first
  std::uint64_t refused_ = 0;
};

}  // namespace closewatch

#endif
