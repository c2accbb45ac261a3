// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/doctor.hpp>
#include <closewatch/core/health.hpp>

#include "health_remarks.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

namespace closewatch {
namespace {

constexpr std::size_t namespaces_named = 3;
constexpr std::size_t remarks_told = 3;

/// What is said alike of several namespaces, or of the whole machine.
struct Said {
  const Remark* remark = nullptr;
  std::vector<std::string> where;
};

std::string place_text(const std::vector<std::string>& where) {
  if (where.empty()) return {};
  return (where.size() == 1 ? " (network namespace " : " (network namespaces ") + list_text(where, namespaces_named) +
         ")";
}

/// A sentence begins with a capital, unless it begins with a name of the kernel's.
std::string sentence(std::string text) {
  const std::string_view first = std::string_view{text}.substr(0, text.find(' '));
  const bool is_word = first.find_first_of("_/.") == std::string_view::npos;
  if (is_word && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

/// One finding of all remarks by one id: the worst first, what is said alike once.
HostFinding merged(std::vector<const Remark*> remarks, bool names_places) {
  std::stable_sort(remarks.begin(), remarks.end(),
                   [](const Remark* left, const Remark* right) { return left->severity > right->severity; });
  std::vector<Said> all;
  for (const Remark* remark : remarks) {
    auto said = std::find_if(all.begin(), all.end(), [&](const Said& one) { return one.remark->what == remark->what; });
    if (said == all.end()) said = all.insert(all.end(), Said{remark, {}});
    if (names_places && remark->netns != 0) said->where.push_back(std::to_string(remark->netns));
  }
  std::string text;
  for (std::size_t at = 0; at < std::min(all.size(), remarks_told); ++at)
    text += (at == 0 ? "" : "; ") + all[at].remark->what + place_text(all[at].where);
  if (all.size() > remarks_told) text += "; and " + std::to_string(all.size() - remarks_told) + " more like these";
  const Remark& worst = *remarks.front();
  return {std::string{worst.id}, worst.severity, sentence(text + ": " + worst.meaning + "."), worst.remedy,
          worst.avoid};
}

std::vector<HostFinding> merged(const Remarks& remarks, bool names_places) {
  std::vector<std::string_view> order;
  std::map<std::string_view, std::vector<const Remark*>> by_id;
  for (const Remark& remark : remarks) {
    auto& same = by_id[remark.id];
    if (same.empty()) order.push_back(remark.id);
    same.push_back(&remark);
  }
  std::vector<HostFinding> out;
  out.reserve(order.size());
  for (const std::string_view id : order) out.push_back(merged(by_id[id], names_places));
  std::stable_sort(out.begin(), out.end(),
                   [](const HostFinding& left, const HostFinding& right) { return left.severity > right.severity; });
  return out;
}

}  // namespace

std::string_view name(Check::Status status) {
  switch (status) {
    case Check::Status::ok: return "ok";
    case Check::Status::degraded: return "degraded";
    case Check::Status::missing: return "missing";
    case Check::Status::unknown: return "unknown";
  }
  std::unreachable();
}

std::string_view name(HostFinding::Severity severity) {
  switch (severity) {
    case HostFinding::Severity::info: return "info";
    case HostFinding::Severity::warning: return "warning";
    case HostFinding::Severity::critical: return "critical";
  }
  std::unreachable();
}

bool can_trace(const DoctorReport& report) {
  return std::none_of(report.checks.begin(), report.checks.end(),
                      [](const Check& check) { return check.status == Check::Status::missing; });
}

std::string_view name(Privilege::Kept kept) {
  switch (kept) {
    case Privilege::Kept::start: return "start";
    case Privilege::Kept::watching: return "watching";
  }
  std::unreachable();
}

std::vector<std::string> usual(const Privileges& all, bool while_watching) {
  std::vector<std::string> names;
  for (const Privilege& one : all.capabilities)
    if (one.usual && (!while_watching || one.kept == Privilege::Kept::watching)) names.push_back(one.name);
  return names;
}

// One look after the other, each over all namespaces: in this order findings of one severity come.
std::vector<HostFinding> findings_of(const MachineHealth& machine) {
  Remarks remarks;
  for (const NamespaceHealth& where : machine.namespaces) remark_ports(where, remarks);
  for (const NamespaceHealth& where : machine.namespaces) remark_time_wait(where, machine.configured, remarks);
  remark_configured(machine, remarks);
  remark_orphans(machine, remarks);
  for (const NamespaceHealth& where : machine.namespaces) remark_listeners(where, remarks);
  for (const NamespaceHealth& where : machine.namespaces) remark_closing(where, remarks);
  for (const NamespaceHealth& where : machine.namespaces) remark_conntrack(where, remarks);
  return merged(remarks, machine.namespaces.size() > 1);
}

Counted counted(const NamespaceHealth& where, std::initializer_list<std::string_view> names) {
  Counted out;
  for (const std::string_view name : names) {
    const std::uint64_t now = number(where.now.counters, name).value_or(0);
    if (!where.before) {
      out.since_made += now;
      continue;
    }
    // Who has watched has seen what goes on; what was before is history.
    const std::uint64_t before = number(where.before->counters, name).value_or(now);
    const std::uint64_t risen = now > before ? now - before : 0;
    out.risen += risen;
    out.since_made += risen;
  }
  return out;
}

std::string times_text(const Counted& counted, std::string_view one, std::uint64_t watched_ns) {
  if (counted.risen == 0) return count_text(counted.since_made, one) + " since the namespace was made";
  return count_text(counted.risen, one) + " in the last " + span_text(static_cast<double>(watched_ns) / 1e9);
}

std::uint64_t setting(const NamespaceHealth& where, std::string_view name, std::uint64_t otherwise) {
  return number(where.now.settings.values, name).value_or(otherwise);
}

std::string count_text(std::uint64_t number, std::string_view one) {
  return std::to_string(number) + " " + std::string{one} + (number == 1 ? "" : "s");
}

std::string span_text(double seconds) {
  constexpr double minute = 60;
  constexpr double hour = 60 * minute;
  constexpr double day = 24 * hour;
  const auto whole = [](double value) { return std::to_string(static_cast<std::uint64_t>(std::llround(value))); };
  if (seconds < 2 * minute) return whole(seconds) + " s";
  if (seconds < 2 * hour) return whole(seconds / minute) + " min";
  if (seconds < 2 * day) return whole(seconds / hour) + " h";
  return whole(seconds / day) + " days";
}

std::string list_text(const std::vector<std::string>& items, std::size_t most) {
  std::string out;
  const std::size_t shown = std::min(items.size(), most);
  for (std::size_t at = 0; at < shown; ++at) {
    const bool last = at + 1 == items.size() && at != 0;
    out += (at == 0 ? "" : last ? " and " : ", ") + items[at];
  }
  if (items.size() > shown) out += " and " + std::to_string(items.size() - shown) + " more";
  return out;
}

const SysctlLine* line_of(const std::vector<SysctlLine>& configured, std::string_view name) {
  const auto found = std::find_if(configured.rbegin(), configured.rend(), [name](const SysctlLine& line) {
    const std::size_t at = line.name.find_last_of("./");
    return std::string_view{line.name}.substr(at == std::string::npos ? 0 : at + 1) == name;
  });
  return found == configured.rend() ? nullptr : &*found;
}

std::optional<std::uint64_t> value_of(const SysctlLine& line) {
  std::uint64_t value = 0;
  const auto end = std::from_chars(line.value.data(), line.value.data() + line.value.size(), value);
  if (end.ec != std::errc{}) return std::nullopt;
  return value;
}

}  // namespace closewatch
