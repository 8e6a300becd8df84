// What a person or a script reads of a replay.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "trainer/json_fields.h"
#include "trainer/replay.h"

namespace nibble::trainer {
namespace {

constexpr size_t kShownText = 60;  // bytes of a document

// Of one layer's parameters together.
struct LayerNorm {
  double square_sum = 0.0;
  int64_t non_finite = 0;
};

// "3" of "model.layers.3.self_attn.q_proj.lora_A.weight" and of "layers.3"; -1: of no layer.
int64_t layer_of(std::string_view name) {
  constexpr std::string_view kLayers = "layers.";
  const size_t at = name.find(kLayers);
  if (at == std::string_view::npos) return -1;
  int64_t layer = -1;
  std::from_chars(name.data() + at + kLayers.size(), name.data() + name.size(), layer);
  return layer;
}

std::map<int64_t, LayerNorm> by_layer(const std::vector<TensorRecord>& tensors) {
  std::map<int64_t, LayerNorm> layers;
  for (const TensorRecord& tensor : tensors) {
    LayerNorm& layer = layers[layer_of(tensor.name)];
    layer.square_sum += tensor.norm * tensor.norm;
    layer.non_finite += tensor.non_finite;
  }
  return layers;
}

std::string norm_cell(const std::map<int64_t, LayerNorm>& layers, int64_t layer) {
  const auto found = layers.find(layer);
  if (layer < 0 || found == layers.end()) return fmt::format("{:>12} {:>9}", "", "");
  return fmt::format("{:>12.4g} {:>9}", std::sqrt(found->second.square_sum), found->second.non_finite);
}

bool same(const TensorRecord& a, const TensorRecord& b) {
  return a.name == b.name && a.non_finite == b.non_finite && bits_text(a.rms) == bits_text(b.rms);
}

std::string outcome_line(const char* when, const BlackBox& box) {
  const double loss = std::fabs(box.loss), grad_norm = std::fabs(box.grad_norm);  // a NaN's sign says nothing
  return fmt::format("{:<9} {:<9} loss {:<12} gradient norm {:<12} {}, {} threads, nibble {}, LibTorch {}\n", when, box.reason, fmt::format("{:.6g}", loss),
                     fmt::format("{:.6g}", grad_norm), box.device, box.threads, box.nibble, box.libtorch);
}

std::string layer_table(const Replay& replay) {
  const BlackBox& now = replay.now;
  const auto gradients = by_layer(now.gradients), adapter = by_layer(now.adapter);
  std::string text = fmt::format("{:<12} {:>12} {:>9} {:>12} {:>9} {:>12} {:>9}\n", "", "hidden rms", "not finite", "gradient", "not finite", "adapter", "not finite");
  for (size_t i = 0; i < now.hidden.size(); ++i) {
    const TensorRecord& hidden = now.hidden[i];
    const bool as_recorded = i < replay.recorded.hidden.size() && same(hidden, replay.recorded.hidden[i]);
    const int64_t layer = layer_of(hidden.name);
    text += fmt::format("{:<12} {:>12.4g} {:>9} {} {}{}\n", hidden.name, hidden.rms, hidden.non_finite, norm_cell(gradients, layer), norm_cell(adapter, layer),
                        as_recorded ? "" : "  recorded otherwise");
  }
  return text;
}

// One line of it, without control characters.
std::string shown(const std::string& text) {
  size_t end = std::min(kShownText, text.size());
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // no character cut in half
  std::string line = text.substr(0, end);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return end < text.size() ? fmt::format("{}...", line) : line;
}

}  // namespace

std::string replay_verdict(const Replay& replay) {
  const BlackBox &recorded = replay.recorded, &now = replay.now;
  if (replay.repeats()) return "the same, bit for bit: the cause lies in the data, the weights or the settings, not in the machine";
  std::string elsewhere;
  if (recorded.device != now.device || recorded.threads != now.threads || recorded.libtorch != now.libtorch || recorded.nibble != now.nibble) {
    elsewhere = fmt::format(" (it was recorded with {}, {} threads, nibble {}, LibTorch {}, with which the last bits may differ; try that first)", recorded.device,
                            recorded.threads, recorded.nibble, recorded.libtorch);
  }
  if (now.reason == recorded.reason && now.device == "cuda") {
    return fmt::format("the same fault with other bits: on a GPU attention's gradients are summed in another order each time{}", elsewhere);
  }
  if (now.reason == recorded.reason) return fmt::format("the same fault with other bits: something that is not in the record differs{}", elsewhere);
  return fmt::format("not the same: the step {} here. What was recorded was then the machine's fault, its memory or its processor, or that of a changed environment{}",
                     now.reason == "none" ? "goes well" : fmt::format("has another fault ({})", now.reason), elsewhere);
}

std::string replay_text(const Replay& replay) {
  const BlackBox& recorded = replay.recorded;
  std::string text = fmt::format("step {}, {} then (policy {})\n", recorded.step, recorded.done, recorded.policy);
  text += outcome_line("recorded", recorded) + outcome_line("now", replay.now) + replay_verdict(replay) + "\n";
  if (replay.now.first_wrong) text += *replay.now.first_wrong + "\n";
  text += fmt::format("\n{}\n", layer_table(replay));
  for (size_t p = 0; p < replay.now.passes.size(); ++p) {
    const PassRecord& pass = replay.now.passes[p];
    text += fmt::format("pass {}: {} tokens, {} trained, loss {:.6g}\n", p + 1, pass.tokens, pass.trained_tokens, pass.loss);
  }
  for (size_t d = 0; d < replay.now.documents.size(); ++d) {
    const DocumentText& document = replay.now.documents[d];
    text += fmt::format("document {}: {}, {} tokens, {} trained{}\n", d + 1, document.place, document.tokens, document.trained_tokens,
                        document.text ? fmt::format(": {}", shown(*document.text)) : "");
  }
  return text;
}

std::string replay_json(const Replay& replay) {
  OrderedJson out{{"repeats", replay.repeats()}, {"verdict", replay_verdict(replay)}};
  out["recorded"] = to_json_object(replay.recorded);
  out["now"] = to_json_object(replay.now);
  return out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace nibble::trainer
