// SPDX-License-Identifier: BSD-2-Clause
#include "sink/pattern.hpp"

#include "sink/escape.hpp"

#include <fmt/compile.h>

namespace closewatch {

std::string pattern_text(const EndPattern& end) {
  if (!end.address) return end.port ? fmt::format(FMT_COMPILE("*:{}"), *end.port) : "*";
  if (end.port) return endpoint_text({*end.address, *end.port}, end.family);
  const std::string address = address_text(*end.address, end.family);
  return end.family == Family::ipv4 ? address + ":*" : "[" + address + "]:*";
}

std::string service_text(const Service& service) {
  switch (service.side) {
    case Role::accept: return pattern_text({service.family, std::nullopt, service.endpoint.port});
    case Role::connect: return endpoint_text(service.endpoint, service.family);
    case Role::unknown: break;
  }
  return "*";
}

}  // namespace closewatch
