// SPDX-License-Identifier: BSD-2-Clause
#include "app/top_report.hpp"

#include "app/messages.hpp"
#include "host/safe_file.hpp"
#include "sink/report_json.hpp"
#include "sink/report_text.hpp"
#include "sink/writer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <expected>
#include <optional>
#include <string_view>
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

struct Forms {
  std::string text;
  std::string json;
};

/// Both or none: the path without its ending.
std::expected<std::string, Error> write_forms(const std::string& path, const Forms& forms) {
  if (auto written = write_file(path + ".txt", forms.text); !written) return std::unexpected(written.error());
  auto written = write_file(path + ".json", forms.json);
  if (written) return path;
  ::unlink((path + ".txt").c_str());
  return std::unexpected(written.error());
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
  constexpr int names_at_most = 100;
  const std::string name = report_name(report.host, report.to_ns, style.utc_offset_ns(report.to_ns));
  const Forms forms{report_text(report, style), report_json(report)};
  std::optional<Error> first;
  std::string refused;
  for (const std::string& folder : folders) {
    const std::string path = (folder.empty() || folder == "." ? "" : folder + "/") + name;
    std::expected<std::string, Error> written = write_forms(path, forms);
    // Of the same second, or of another who saves here.
    for (int number = 2; !written && written.error().code == EEXIST && number < names_at_most; ++number)
      written = write_forms(fmt::format("{}-{}", path, number), forms);
    if (written)
      return fmt::format("written: {}.txt and .json{}", *written,
                         first ? fmt::format(" (not in {}: {})", refused, std::strerror(first->code)) : "");
    if (!first) {
      first = written.error();
      refused = folder == "." ? "this directory" : folder;
    }
    if (!is_of_the_folder(written.error().code)) break;
  }
  return first ? message_of(*first) : "";
}

}  // namespace closewatch
