// Chat templates of any kind: parsing and rendering end, with a text or an exception of ours.
//
// The input is a template; what stands behind a zero byte, if there is one, is JSON for the variables' "v". The limits are
// small, so that reaching them is quick. Marks must be in order and inside the text.
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "data/jinja/program.h"

namespace {

using namespace nibble;
using nlohmann::ordered_json;

ordered_json variables(std::string_view extra) {
  ordered_json out = {{"messages",
                       {{{"role", "system"}, {"content", "Be brief."}},
                        {{"role", "user"}, {"content", " H\xC3\xA9llo \n"}},
                        {{"role", "assistant"}, {"content", "<think>\na\n</think>\n\nb"}, {"tool_calls", ordered_json::array()}}}},
                      {"tools", nullptr},
                      {"add_generation_prompt", true},
                      {"bos_token", "<s>"},
                      {"n", -3},
                      {"x", 0.1}};
  if (ordered_json v = ordered_json::parse(extra, nullptr, false); !v.is_discarded()) out["v"] = std::move(v);
  return out;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = std::min(input.find('\0'), size);
  data::jinja::RenderOptions options;
  options.now = std::tm{};
  options.limits = {200'000, 1 << 18, 1 << 22, 300};
  try {
    const auto program = data::jinja::Program::parse(input.substr(0, zero), "fuzz");
    const ordered_json given = variables(input.substr(std::min(zero + 1, size)));
    const auto out = program.render(given, {"/messages/0/content", "/messages/1/content", "/messages/2/content"}, options);
    uint32_t begin = 0;
    for (const data::jinja::Mark& mark : out.marks) {
      require(mark.begin >= begin && mark.end >= mark.begin && mark.end <= out.text.size());
      begin = mark.begin;
    }
  } catch (const Error&) {
    return 0;
  }
  return 0;
}
