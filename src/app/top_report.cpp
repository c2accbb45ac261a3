// SPDX-License-Identifier: BSD-2-Clause
#include "app/top_report.hpp"

#include "app/messages.hpp"
#include "host/safe_file.hpp"
#include "sink/report_json.hpp"
#include "sink/report_text.hpp"
#include "sink/writer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <expected>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

constexpr std::size_t longest_host = 64;

bool is_harmless(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
         letter == '-' || letter == '.' || letter == '_';
}

std::expected<void, Error> write_file(const std::string& path, std::string_view text) {
  auto file = make_new_file(path);
  if (!file) return std::unexpected(file.error());
  constexpr std::chrono::seconds patience{10};
  Writer writer{file->get(), path};
  writer.lift_limit();
  writer.put(text);
  auto written = writer.finish(patience);
  if (!written) ::unlink(path.c_str());  // half a report is none
  return written;
}

/// Another folder may take what this one does not.
bool is_of_the_folder(int error) {
  return error == EACCES || error == EPERM || error == EROFS || error == ENOENT || error == ENOSPC || error == EDQUOT;
}

}  // namespace

std::string report_name(const std::string& host, std::int64_t time_ns, std::int64_t utc_offset_ns) {
  std::string name;
  for (const char letter : host.substr(0, longest_host)) name += is_harmless(letter) ? letter : '_';
  if (name.empty()) name = "host";
  namespace chrono = std::chrono;
  const chrono::sys_seconds time{
      chrono::floor<chrono::seconds>(chrono::nanoseconds{time_ns} + chrono::nanoseconds{utc_offset_ns})};
  const auto midnight = chrono::floor<chrono::days>(time);
  const chrono::year_month_day day{midnight};
  const chrono::hh_mm_ss clock{time - midnight};
  return fmt::format("closewatch-{}-{:04}{:02}{:02}-{:02}{:02}{:02}", name, static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

std::string save_report(const Report& report, const TextSink::Style& style, const std::vector<std::string>& folders) {
  const std::string name = report_name(report.host, report.to_ns, style.utc_offset_ns(report.to_ns));
  const std::array forms{std::pair{".txt", report_text(report, style)}, std::pair{".json", report_json(report)}};
  std::string why;
  for (const std::string& folder : folders) {
    const std::string path = (folder.empty() || folder == "." ? "" : folder + "/") + name;
    std::expected<void, Error> written;
    for (const auto& [ending, text] : forms) {
      written = write_file(path + ending, text);
      if (!written) break;
    }
    if (written) return fmt::format("written: {}.txt and .json{}", path, why.empty() ? "" : " (" + why + ")");
    if (why.empty()) why = message_of(written.error());
    if (!is_of_the_folder(written.error().code)) break;
    ::unlink((path + ".txt").c_str());
  }
  return why;
}

}  // namespace closewatch
