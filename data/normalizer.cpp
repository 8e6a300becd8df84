#include "data/normalizer.h"

#include <numeric>

#include "data/nfc.h"

namespace nibble::data {

void TracedText::trace() {
  if (!origins.empty()) return;
  origins.resize(text.size());
  std::iota(origins.begin(), origins.end(), base);
}

void TracedText::replace(std::string_view from, std::string_view to) {
  if (from.empty() || text.find(from) == std::string::npos) return;
  trace();
  std::string out;
  std::vector<uint32_t> out_origins;
  for (size_t at = 0; at < text.size();) {
    const size_t found = std::min(text.find(from, at), text.size());
    out.append(text, at, found - at);
    out_origins.insert(out_origins.end(), origins.begin() + at, origins.begin() + found);
    if (found == text.size()) break;
    out.append(to);
    out_origins.insert(out_origins.end(), to.size(), origins[found]);
    at = found + from.size();
  }
  text = std::move(out);
  origins = std::move(out_origins);
}

void TracedText::prepend(std::string_view prefix) {
  trace();
  const uint32_t first = origins.empty() ? base : origins.front();
  text.insert(0, prefix);
  origins.insert(origins.begin(), prefix.size(), first);
}

void normalize(TracedText& text, const std::vector<NormalizerStep>& steps) {
  for (const NormalizerStep& step : steps) {
    switch (step.kind) {
      case NormalizerStep::Kind::kNfc: {
        if (nfc_is_trivial(text.text)) break;
        std::vector<uint32_t> from;
        std::string composed = nfc(text.text, &from);
        if (composed == text.text) break;
        for (uint32_t& origin : from) origin = text.origin(origin);
        text.text = std::move(composed);
        text.origins = std::move(from);
        break;
      }
      case NormalizerStep::Kind::kPrepend:
        if (!text.text.empty()) text.prepend(step.content);
        break;
      case NormalizerStep::Kind::kReplace:
        text.replace(step.pattern, step.content);
        break;
    }
  }
}

}  // namespace nibble::data
