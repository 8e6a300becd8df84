#include "data/decoder.h"

#include "core/utf8.h"
#include "data/bpe.h"

namespace nibble::data {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

std::string replaced(const std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return text;
  std::string out;
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    out.append(text, at, found == std::string::npos ? std::string::npos : found - at);
    if (found == std::string::npos) return out;
    out.append(to);
    at = found + from.size();
  }
}

// The value of "<0xXX>"; -1: another token.
int byte_token(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (int i = 3; i < 5; ++i) {
    const char c = token[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// A run of byte tokens is a text where it is valid UTF-8, and U+FFFD for each of its bytes where it is not.
std::vector<std::string> join_bytes(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (first_invalid_utf8(bytes)) {
      for (size_t i = 0; i < bytes.size(); ++i) out.emplace_back(kReplacement);
    } else {
      out.push_back(bytes);
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const int byte = byte_token(token); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string joined(const std::vector<std::string>& tokens, std::string_view between = "") {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += between;
    out += tokens[i];
  }
  return out;
}

// An added token may hold characters that stand for no byte: it is text as it is.
std::string byte_level_text(const std::vector<std::string>& tokens) {
  std::string out, bytes;
  for (const std::string& token : tokens) out += token_bytes(token, bytes) ? bytes : token;
  return repair_utf8(out);
}

void strip(const DecoderStep& step, std::string& token) {
  if (step.content.empty()) return;
  for (int64_t i = 0; i < step.start && token.starts_with(step.content); ++i) token.erase(0, step.content.size());
  for (int64_t i = 0; i < step.stop && token.ends_with(step.content); ++i) token.resize(token.size() - step.content.size());
}

}  // namespace

std::string decode_tokens(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens) {
  using Kind = DecoderStep::Kind;
  if (steps.empty()) return joined(tokens, " ");
  for (const DecoderStep& step : steps) {
    switch (step.kind) {
      case Kind::kByteLevel:
        tokens = {byte_level_text(tokens)};
        break;
      case Kind::kReplace:
        for (std::string& token : tokens) token = replaced(token, step.pattern, step.content);
        break;
      case Kind::kByteFallback:
        tokens = join_bytes(tokens);
        break;
      case Kind::kFuse:
        tokens = {joined(tokens)};
        break;
      case Kind::kStrip:
        for (std::string& token : tokens) strip(step, token);
        break;
      case Kind::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i) {
          if (i == 0 && step.strip_first && tokens[0].starts_with(step.pattern)) tokens[0].erase(0, step.pattern.size());
          tokens[i] = replaced(tokens[i], step.pattern, " ");
        }
        break;
    }
  }
  return joined(tokens);
}

std::vector<DecoderStep> sentencepiece_decoder() {
  using Kind = DecoderStep::Kind;
  return {{Kind::kReplace, "\xE2\x96\x81", " ", 0, 0, false},
          {Kind::kByteFallback, "", "", 0, 0, false},
          {Kind::kFuse, "", "", 0, 0, false},
          {Kind::kStrip, "", " ", 1, 0, false}};
}

}  // namespace nibble::data
