// SPDX-License-Identifier: BSD-2-Clause
#include "told.hpp"

#include "builders.hpp"

namespace closewatch::test {
namespace {

std::string spent(const std::optional<std::uint64_t>& ns) {
  if (!ns) return "?";
  return *ns % ms == 0 ? std::to_string(*ns / ms) + "ms" : std::to_string(*ns) + "ns";
}

std::string pid(const Identity& identity) { return std::to_string(identity.key.pid); }

std::string who(const Responsible& responsible) {
  std::string text{name(responsible.attribution)};
  if (responsible.process) text += ":" + pid(responsible.process->identity);
  return text;
}

std::string cookie(const Connection& connection) { return std::to_string(connection.id.cookie); }

std::string totals(const TotalsSoFar& totals) {
  return "events=" + std::to_string(totals.events) + " lost=" + std::to_string(totals.lost) +
         " connections=" + std::to_string(totals.connections);
}

std::string text(const Hello&) { return "hello"; }
std::string text(const SnapshotEnd&) { return "snapshot_end"; }
std::string text(const Stats& stats) { return "stats " + totals(stats.totals); }
std::string text(const Bye& bye) { return "bye " + totals(bye.totals); }
std::string text(const WalkWanted& wanted) { return wanted.tables ? "walk tables" : "walk"; }

std::string text(const ProcessWanted& wanted) {
  return "ask " + pid(wanted.process) + "/" + std::to_string(wanted.process.exec_id);
}

std::string text(const StackWanted& wanted) {
  return "name " + std::string{wanted.end_read ? "the reader" : "the opener"} + " of " + std::to_string(wanted.cookie);
}

std::string text(const Finding& finding) {
  std::string line = cookie(finding.connection) + " " + std::string{name(finding.status)} + " " +
                     std::string{name(finding.kind)} + " " + std::string{name(finding.verdict)};
  if (finding.resolution) line += " " + std::string{name(*finding.resolution)};
  return line + " age=" + (finding.age_is_lower_bound ? ">" : "") + spent(finding.age_ns) + " " +
         who(finding.responsible);
}

std::string text(const Gap& gap) { return "gap " + std::string{name(gap.where)} + " " + std::to_string(gap.lost); }

std::string text(const Snapshot& row) {
  return "snapshot " + cookie(row.connection) + " " + std::string{name(row.state)} + " age=" + spent(row.age_ns) + " " +
         who(row.responsible);
}

std::string text(const Transition& transition) {
  std::string line = cookie(transition.connection) + " " + std::string{name(transition.from)} + ">" +
                     std::string{name(transition.to)} + " in=" + spent(transition.in_state_ns) + " " +
                     who(transition.responsible) + " " + std::string{name(transition.cause)};
  if (transition.actor) line += ":" + pid(*transition.actor);
  return line + (transition.by_sweep ? " sweep" : "");
}

std::string text(const Closed& closed) {
  std::string line = cookie(closed.connection) + " closed " + who(closed.responsible);
  if (closed.closer) line += " by=" + std::string{name(closed.closer->by)} + ":" + pid(closed.closer->process);
  return line + " first=" + std::string{name(closed.first_fin)} + " " + std::string{name(closed.ending)} +
         " errno=" + std::to_string(closed.error) + " bucket=" + std::string{name(closed.bucket)} +
         " took=" + spent(closed.duration_ns) + " sent=" + std::to_string(closed.bytes_sent) +
         " received=" + std::to_string(closed.bytes_received);
}

}  // namespace

std::string told(const Fact& fact) {
  return std::visit([](const auto& what) { return text(what); }, fact);
}

std::vector<std::string> told(const std::vector<Fact>& facts) {
  std::vector<std::string> lines;
  for (const Fact& fact : facts) lines.push_back(told(fact));
  return lines;
}

std::vector<std::string> Watched::operator()(const std::vector<Event>& events) {
  facts_.clear();
  for (const Event& event : events) {
    std::vector<Fact> now;
    engine_.step(event, now);
    for (const Fact& fact : now) {
      facts_.push_back(fact);
      std::vector<Fact> none;
      if (const auto* wanted = std::get_if<ProcessWanted>(&fact); wanted != nullptr && answer)
        engine_.step(answer(wanted->process), none);
      if (const auto* wanted = std::get_if<StackWanted>(&fact); wanted != nullptr && resolve)
        engine_.step(resolve(*wanted), none);
    }
  }
  return told(facts_);
}

void Watched::begin(const std::vector<Event>& rows) {
  (*this)(rows);
  (*this)({WalkDone{100 * ms}, started(100 * ms)});
}

}  // namespace closewatch::test
