#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/regex.h"

#include <fmt/core.h>
#include <pcre2.h>

#include <cstdint>

#include "core/error.h"

namespace nibble::data {
namespace {

constexpr uint32_t kMatchLimit = 50'000'000;         // steps of the interpreter or the compiled code for one match
constexpr size_t kJitStackBytes = size_t{8} << 20;   // grows on demand

// Unicode White_Space as members of a class. PCRE2's own \s has U+180E on top, which Unicode took out in 6.3.
constexpr std::string_view kSpaceMembers =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// From Oniguruma's dialect to PCRE2's.
std::string translate(std::string_view pattern, const std::string& path) {
  std::string out;
  bool in_class = false;
  size_t class_begin = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const auto refuse = [&](std::string_view what) {
      throw FormatError(fmt::format("the pre-tokenizer pattern '{}' uses {} (at its byte {}), which is not supported: "
                                    "use another tokenizer file", pattern, what, i), path);
    };
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out += in_class ? std::string(kSpaceMembers) : "[" + std::string(kSpaceMembers) + "]";
      } else if (next == 'S' && !in_class) {
        out += "[^" + std::string(kSpaceMembers) + "]";
      } else if (next == 'h' || next == 'H' || next == 'G' || next == 'K' || next == 'C') {
        refuse(fmt::format("\\{}", next));
      } else {
        out += c;
        out += next;
      }
      continue;
    }
    if (in_class) {
      if (c == '&' && pattern.substr(i, 2) == "&&") refuse("a class intersection (&&)");
      if (c == '[' && pattern.substr(i, 2) != "[:") refuse("a class inside a class");
      if (c == ']' && i > class_begin + 1) in_class = false;
    } else if (c == '[') {
      in_class = true;
      class_begin = i + (pattern.substr(i + 1, 1) == "^" ? 1 : 0);
    }
    out += c;
  }
  return out;
}

}  // namespace

struct RegexScratch::State {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
  State() {
    if (!match || !context) throw std::bad_alloc();
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~State() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {}
RegexScratch::~RegexScratch() = default;
RegexScratch::RegexScratch(RegexScratch&&) noexcept = default;

Regex::Regex(std::string_view pattern, const std::string& path) : pattern_(pattern) {
  const std::string text = translate(pattern, path);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (!code) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw FormatError(fmt::format("the pre-tokenizer pattern '{}' is not a valid regular expression: {} (at its byte {})",
                                  pattern, reinterpret_cast<const char*>(message), offset), path);
  }
  code_ = std::shared_ptr<void>(code, [](void* c) { pcre2_code_free(static_cast<pcre2_code*>(c)); });
  // Where just-in-time compilation is not available the interpreter gives the same matches, slower.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

std::optional<Span> Regex::find(std::string_view text, size_t from, RegexScratch& scratch) const {
  auto& state = *scratch.state_;
  const int rc = pcre2_match(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()),
                             text.size(), from, PCRE2_NO_UTF_CHECK, state.match, state.context);
  if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (rc < 0) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(rc, message, sizeof message);
    throw DataError(fmt::format("splitting a text of {} bytes into words failed at byte {}: {}; break the text into "
                                "shorter ones", text.size(), from, reinterpret_cast<const char*>(message)));
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state.match);
  return Span{static_cast<uint32_t>(ends[0]), static_cast<uint32_t>(ends[1])};
}

std::string escape_regex(std::string_view literal) {
  std::string out;
  for (const char c : literal) {
    // A backslash before an ASCII letter or digit would have a meaning of its own; before the rest it has none.
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte >= 0x80 || byte <= ' ' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!plain) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace nibble::data
