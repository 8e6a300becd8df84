#include "data/detect_format.h"

#include "core/error.h"
#include "data/render_turns.h"
#include "schema/enum_names.h"

namespace nibble::data {
namespace {

struct Probe {
  Conversation conversation;
  bool add_generation_prompt;
};

Probe probe(bool add_generation_prompt, std::initializer_list<std::pair<const char*, const char*>> messages) {
  Probe out{{}, add_generation_prompt};
  for (const auto& [role, content] : messages) out.conversation.messages.push_back({role, content});
  return out;
}

// Each rule by which formats differ: who may begin, where system texts go, what is trimmed and where, what is left of a
// thought, what ends a text. Contents are of a length that hides no difference of one byte.
const std::vector<Probe>& probes() {
  static const std::vector<Probe> all = {
      probe(false, {{"user", "ask"}, {"assistant", "say"}}),
      probe(true, {{"user", "ask"}}),
      probe(false, {{"user", "ask"}}),
      probe(false, {{"user", "a1"}, {"assistant", "b1"}, {"user", "a2"}, {"assistant", "b2"}}),
      probe(true, {{"user", "a1"}, {"assistant", "b1"}, {"user", "a2"}}),
      probe(true, {{"user", "a1"}, {"assistant", "b1"}}),
      probe(false, {{"system", "rule"}, {"user", "ask"}, {"assistant", "say"}}),
      probe(true, {{"system", "rule"}, {"user", "ask"}}),
      probe(false, {{"system", "rule"}, {"user", "a1"}, {"assistant", "b1"}, {"user", "a2"}, {"assistant", "b2"}}),
      probe(false, {{"system", " \n rule \n "}, {"user", " \n ask \n "}, {"assistant", " \n say \n "}}),
      probe(true, {{"system", " \n rule \n "}, {"user", " \n ask \n "}}),
      probe(true, {{"user", " \n ask \n "}, {"assistant", " \n say \n "}, {"user", " \n more \n "}}),
      probe(false, {{"system", ""}, {"user", ""}, {"assistant", ""}}),
      probe(false, {{"system", "rule"}, {"user", " \n "}, {"assistant", "say"}}),
      probe(false, {{"user", "a1"}, {"user", "a2"}, {"assistant", "b1"}}),
      probe(false, {{"assistant", "b0"}, {"user", "a1"}, {"assistant", "b1"}}),
      probe(false, {{"user", "a1"}, {"assistant", "b1"}, {"assistant", "b2"}}),
      probe(false, {{"user", "a1"}, {"system", "rule"}, {"assistant", "b1"}}),
      probe(false, {{"user", "a1"}, {"assistant", "b1"}, {"system", "rule"}, {"user", "a2"}, {"assistant", "b2"}}),
      probe(false, {{"system", "r1"}, {"system", "r2"}, {"user", "a1"}, {"assistant", "b1"}}),
      probe(false, {{"system", "rule"}}),
      probe(false, {{"user", "a1"}, {"assistant", "<think>\nt1\n</think>\n\nb1"}, {"user", "a2"}, {"assistant", "<think>\nt2\n</think>\n\nb2"}}),
      probe(false, {{"user", "a1"}, {"assistant", "t1</think>b1"}, {"assistant", "\n\nb2"}, {"assistant", "\n\nb3"}}),
      probe(false, {{"user", "<b>'\"&\\n {{ x }} {% y %}"}, {"assistant", "\xC2\xA0\xE3\x80\x80\xC3\xA9\xF0\x9F\x98\x80\x1C"}}),
  };
  return all;
}

// nullopt: refused.
template <class Render>
std::optional<std::string> text_of(const Render& render) {
  try {
    return render();
  } catch (const DataError&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<ChatFormat> detect_format(const JinjaChat& jinja, const std::string& bos, const std::string& eos, std::optional<bool> enable_thinking) {
  std::vector<std::optional<std::string>> wanted;
  bool renders = false;
  for (const Probe& p : probes()) {
    wanted.push_back(text_of([&] { return jinja.render(p.conversation, p.add_generation_prompt, false).text; }));
    renders = renders || wanted.back();
  }
  if (!renders) return std::nullopt;  // it refuses everything, as no format does
  for (size_t choice = 0; choice < schema::EnumNames<ChatTemplate>::names.size(); ++choice) {
    ChatFormat format = bind_tokens(published_format(static_cast<ChatTemplate>(choice)), bos, eos);
    bool same = true;
    for (size_t i = 0; same && i < probes().size(); ++i) {
      const Probe& p = probes()[i];
      same = wanted[i] == text_of([&] { return render_turns(format, p.conversation, p.add_generation_prompt, enable_thinking).text; });
    }
    if (same) return format;
  }
  return std::nullopt;
}

}  // namespace nibble::data
