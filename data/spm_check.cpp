#include "data/spm_check.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace nibble::data {
namespace {

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// One field of a message: its number, its wire type, and the bytes of its value (of a kBytes field without their length).
struct Field {
  uint64_t number = 0;
  Wire wire = kVarint;
  std::string_view bytes;
};

// Walks the fields of a message; every length is checked against what is left.
class Message {
 public:
  Message(std::string_view bytes, std::string_view file, const std::string& path) : rest_(bytes), file_(file), path_(path) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field.number = tag >> 3;
    field.wire = static_cast<Wire>(tag & 7);
    switch (field.wire) {
      case kVarint: {
        const std::string_view before = rest_;
        varint();
        field.bytes = before.substr(0, before.size() - rest_.size());
        return true;
      }
      case kFixed64: field.bytes = take(8); return true;
      case kFixed32: field.bytes = take(4); return true;
      case kBytes: field.bytes = take(varint()); return true;
    }
    fail(fmt::format("a field has the unknown wire type {}", tag & 7));
  }
  [[noreturn]] void fail(const std::string& what) const { fail(what, rest_); }
  [[noreturn]] void fail(const std::string& what, std::string_view at) const {
    throw FormatError(fmt::format("not a usable SentencePiece model ({}): fetch tokenizer.model again", what), path_, at.data() - file_.data());
  }

 private:
  std::string_view take(uint64_t bytes) {
    if (bytes > rest_.size()) fail(fmt::format("a field has {} bytes, of which {} are left", bytes, rest_.size()));
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number has more than 64 bits");
  }

  std::string_view rest_, file_;
  const std::string& path_;
};

float float_of(std::string_view bytes) {
  float value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

void check_piece(std::string_view bytes, std::string_view file, const std::string& path) {
  Message piece(bytes, file, path);
  for (Field field; piece.next(field);) {
    if (field.number == 1 && field.wire == kBytes && field.bytes.find('\0') != std::string_view::npos) piece.fail("a piece holds a NUL", field.bytes);
    if (field.number == 2 && field.wire == kFixed32 && !std::isfinite(float_of(field.bytes))) piece.fail("a piece's score is not finite", field.bytes);
  }
}

void check_character_map(std::string_view map, const Message& at) {
  if (map.empty()) return;
  constexpr size_t kUnitBytes = 4, kBlockUnits = 256;
  uint32_t trie_bytes = 0;
  if (map.size() < sizeof trie_bytes) at.fail("its character map is cut short", map);
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  map.remove_prefix(sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % (kUnitBytes * kBlockUnits) != 0 || trie_bytes >= map.size()) {
    at.fail(fmt::format("its character map of {} bytes has a trie of {}", map.size(), trie_bytes), map);
  }
  std::vector<uint32_t> units(trie_bytes / kUnitBytes);
  std::memcpy(units.data(), map.data(), trie_bytes);
  const std::string_view texts = map.substr(trie_bytes);
  if (texts.back() != '\0') at.fail("the last text of its character map has no end", texts);
  constexpr uint32_t kIsValue = uint32_t{1} << 31, kHasValue = 1 << 8, kWide = 1 << 9;
  for (size_t i = 0; i < units.size(); ++i) {
    const uint32_t unit = units[i];
    if ((unit & kIsValue) != 0 && i != 0) continue;
    const size_t children = i ^ (size_t{unit >> 10} << ((unit & kWide) != 0 ? 8 : 0));
    if ((children | (kBlockUnits - 1)) >= units.size()) at.fail("the trie of its character map leads outside of itself", map.substr(i * kUnitBytes));
    if ((unit & kHasValue) != 0 && (units[children] & ~kIsValue) >= texts.size()) {
      at.fail("the trie of its character map names a text that is not there", map.substr(i * kUnitBytes));
    }
  }
}

}  // namespace

void check_sentencepiece_model(std::string_view serialized, const std::string& path) {
  Message model(serialized, serialized, path);
  for (Field field; model.next(field);) {
    if (field.wire != kBytes) continue;
    if (field.number == 1) check_piece(field.bytes, serialized, path);
    if (field.number != 3 && field.number != 5) continue;
    Message normalizer(field.bytes, serialized, path);
    for (Field part; normalizer.next(part);) {
      if (part.number == 2 && part.wire == kBytes) check_character_map(part.bytes, normalizer);
    }
  }
}

}  // namespace nibble::data
