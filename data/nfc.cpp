#include "data/nfc.h"

#include <algorithm>
#include <unordered_map>

#include "core/utf8.h"

namespace nibble::data {
namespace {

// Hangul syllables are composed by arithmetic (Unicode 3.12).
constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

struct Char {
  char32_t value;
  uint8_t combining;
  uint32_t origin;
};

uint8_t combining_class(char32_t c) {
  if (c < 0x300) return 0;
  size_t low = 0, high = kNfcCombiningRunCount;
  while (low < high) {
    const size_t mid = (low + high) / 2;
    if (kNfcCombiningRuns[3 * mid + 1] < c) {
      low = mid + 1;
    } else {
      high = mid;
    }
  }
  if (low == kNfcCombiningRunCount || kNfcCombiningRuns[3 * low] > c) return 0;
  return static_cast<uint8_t>(kNfcCombiningRuns[3 * low + 2]);
}

// Row of kNfcDecompositions, or nullptr.
const uint32_t* find_decomposition(char32_t c) {
  size_t low = 0, high = kNfcDecompositionCount;
  while (low < high) {
    const size_t mid = (low + high) / 2;
    if ((kNfcDecompositions[3 * mid] & 0x7FFFFFFFu) < c) {
      low = mid + 1;
    } else {
      high = mid;
    }
  }
  if (low == kNfcDecompositionCount || (kNfcDecompositions[3 * low] & 0x7FFFFFFFu) != c) return nullptr;
  return kNfcDecompositions + 3 * low;
}

void decompose(char32_t c, uint32_t origin, std::vector<Char>& out) {
  if (c < 0xC0) {
    out.push_back({c, 0, origin});
  } else if (c >= kSBase && c < kSBase + kSCount) {
    const uint32_t s = c - kSBase;
    out.push_back({kLBase + s / (kVCount * kTCount), 0, origin});
    out.push_back({kVBase + s % (kVCount * kTCount) / kTCount, 0, origin});
    if (s % kTCount != 0) out.push_back({kTBase + s % kTCount, 0, origin});
  } else if (const uint32_t* row = find_decomposition(c)) {
    // The first part may decompose again, to a depth of three at most in the table.
    decompose(row[1], origin, out);
    if (row[2] != 0) decompose(row[2], origin, out);
  } else {
    out.push_back({c, combining_class(c), origin});
  }
}

const std::unordered_map<uint64_t, char32_t>& compositions() {
  static const auto table = [] {
    std::unordered_map<uint64_t, char32_t> map;
    for (size_t i = 0; i < kNfcDecompositionCount; ++i) {
      const uint32_t* row = kNfcDecompositions + 3 * i;
      if (row[0] >> 31) map.emplace(uint64_t{row[1]} << 32 | row[2], row[0] & 0x7FFFFFFFu);
    }
    return map;
  }();
  return table;
}

// The primary composite of two characters; 0: none.
char32_t compose(char32_t a, char32_t b) {
  if (a >= kLBase && a < kLBase + kLCount && b >= kVBase && b < kVBase + kVCount) {
    return kSBase + ((a - kLBase) * kVCount + (b - kVBase)) * kTCount;
  }
  if (a >= kSBase && a < kSBase + kSCount && (a - kSBase) % kTCount == 0 && b > kTBase && b < kTBase + kTCount) {
    return a + (b - kTBase);
  }
  const auto found = compositions().find(uint64_t{a} << 32 | b);
  return found == compositions().end() ? 0 : found->second;
}

}  // namespace

bool nfc_is_trivial(std::string_view text) {
  // U+0300 is CC 80; every lead byte below CC starts a character below it.
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0xCC; });
}

std::string nfc(std::string_view text, std::vector<uint32_t>* origins) {
  std::vector<Char> chars;
  chars.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    decompose(c.value, static_cast<uint32_t>(at), chars);
    at += c.length;
  }
  // Canonical ordering: runs of combining characters, stable by class.
  for (size_t i = 0; i < chars.size();) {
    if (chars[i].combining == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < chars.size() && chars[end].combining != 0) ++end;
    std::stable_sort(chars.begin() + i, chars.begin() + end,
                     [](const Char& a, const Char& b) { return a.combining < b.combining; });
    i = end;
  }
  // Canonical composition (UAX #15, D117): each character with the last starter, unless something blocks it.
  size_t kept = 0;
  size_t starter = chars.size();
  int last_class = -1;
  for (size_t i = 0; i < chars.size(); ++i) {
    const Char c = chars[i];
    if (starter < chars.size() && last_class < static_cast<int>(c.combining)) {
      if (const char32_t composite = compose(chars[starter].value, c.value)) {
        chars[starter].value = composite;
        continue;
      }
    }
    if (c.combining == 0) {
      starter = kept;
      last_class = -1;
    } else {
      last_class = c.combining;
    }
    chars[kept++] = c;
  }
  chars.resize(kept);
  std::string out;
  out.reserve(text.size());
  uint32_t origin = 0;
  for (const Char& c : chars) {
    // Reordering may run backwards; tokens must not: an origin never lies before its predecessor's.
    origin = std::max(origin, c.origin);
    append_utf8(out, c.value);
    if (origins) origins->resize(out.size(), origin);
  }
  return out;
}

}  // namespace nibble::data
