#include "schema/byte_size.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "schema/scalar.h"

namespace nibble::schema {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};

constexpr int64_t kGib = int64_t{1} << 30;

// Longer names before their endings.
constexpr std::array<Unit, 9> kUnits{{{"KiB", int64_t{1} << 10}, {"MiB", int64_t{1} << 20}, {"GiB", kGib}, {"TiB", int64_t{1} << 40},
                                      {"KB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}, {"TB", 1'000'000'000'000}, {"B", 1}}};

}  // namespace

std::optional<ByteSize> parse_byte_size(std::string_view text) {
  if (text == "auto") return ByteSize{};
  int64_t unit_bytes = kGib;
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    while (text.ends_with(' ')) text.remove_suffix(1);
    unit_bytes = unit.bytes;
    break;
  }
  const std::optional<double> number = parse_number(text);
  if (!number) return std::nullopt;
  const double bytes = std::round(*number * static_cast<double>(unit_bytes));
  if (!(bytes >= 1) || bytes > 9007199254740992.0) return std::nullopt;
  return ByteSize{static_cast<int64_t>(bytes)};
}

std::string byte_size_text(ByteSize size) {
  if (size.bytes == 0) return "auto";
  std::string shortest = fmt::format("{}B", size.bytes);
  for (const Unit& unit : kUnits) {
    const std::string text = fmt::format("{:.3f}", static_cast<double>(size.bytes) / static_cast<double>(unit.bytes));
    std::string trimmed = text.substr(0, text.find_last_not_of('0') + 1);
    if (trimmed.ends_with('.')) trimmed.pop_back();
    trimmed += unit.name;
    if (trimmed.size() < shortest.size() && parse_byte_size(trimmed) == size) shortest = trimmed;
  }
  return shortest;
}

}  // namespace nibble::schema
