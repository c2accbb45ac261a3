#pragma once
#include <closewatch/core/tcp_settings.hpp>
#include <filesystem>
namespace closewatch {
[[nodiscard]] TcpLook look_at_tcp(const std::filesystem::path& root);
[[nodiscard]] std::optional<std::uint64_t> time_wait_overflows(const std::filesystem::path& root);
}
