// tokenizer.json, as huggingface/tokenizers writes it. Normalizer, pre-tokenizer, post-processor and decoder are chains
// of typed steps; each step that is not known here is refused by its type name.
#include <fmt/core.h>

#include <array>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"
#include "data/json_view.h"
#include "data/tokenizer_spec.h"
#include "schema/json_text.h"

namespace nibble::data {
namespace {

[[noreturn]] void refuse(const JsonView& view, std::string_view part, std::string_view what) {
  view.fail(fmt::format("{} '{}' is not supported; supported are byte-level BPE and byte-fallback BPE tokenizers "
                        "(or put the model's tokenizer.model beside it and remove tokenizer.json)", part, what));
}

// A pattern is {"String": "..."} or {"Regex": "..."}.
std::string literal_pattern(const JsonView& view) {
  const auto pattern = view.at("pattern").find("String");
  if (!pattern) refuse(view, "a pattern of kind", "Regex");
  return pattern->text();
}

void read_normalizer(const JsonView& view, std::vector<NormalizerStep>& steps) {
  const std::string type = view.at("type").text();
  if (type == "Sequence") {
    for (const JsonView& step : view.at("normalizers").items()) read_normalizer(step, steps);
  } else if (type == "NFC") {
    steps.push_back({NormalizerStep::Kind::kNfc, "", ""});
  } else if (type == "Prepend") {
    steps.push_back({NormalizerStep::Kind::kPrepend, "", view.at("prepend").text()});
  } else if (type == "Replace") {
    steps.push_back({NormalizerStep::Kind::kReplace, literal_pattern(view), view.at("content").text()});
  } else {
    refuse(view, "the normalizer", type);
  }
}

SplitBehavior read_behavior(const JsonView& view) {
  const std::string name = view.at("behavior").text();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  refuse(view, "the split behavior", name);
}

void read_metaspace(const JsonView& view, PreTokenizer& pre, const std::string& path) {
  if (!pre.splits.empty()) refuse(view, "a step before the pre-tokenizer", "Metaspace");
  pre.metaspace = true;
  pre.replacement = view.text_or("replacement", "\xE2\x96\x81");
  // Files from before prepend_scheme have add_prefix_space.
  const std::string scheme = view.text_or("prepend_scheme", view.flag_or("add_prefix_space", true) ? "always" : "never");
  if (scheme == "always") {
    pre.prepend_scheme = PrependScheme::kAlways;
  } else if (scheme == "never") {
    pre.prepend_scheme = PrependScheme::kNever;
  } else if (scheme == "first") {
    pre.prepend_scheme = PrependScheme::kFirst;
  } else {
    refuse(view, "the prepend_scheme", scheme);
  }
  if (view.flag_or("split", true)) {
    pre.splits.push_back({Regex(escape_regex(pre.replacement), path), SplitBehavior::kMergedWithNext, false});
  }
}

// Returns whether ByteLevel was the step.
bool read_pre_tokenizer(const JsonView& view, PreTokenizer& pre, const std::string& path) {
  const std::string type = view.at("type").text();
  if (type == "Sequence") {
    bool byte_level = false;
    for (const JsonView& step : view.at("pretokenizers").items()) {
      if (byte_level) refuse(step, "a pre-tokenizer behind ByteLevel,", step.at("type").text());
      byte_level = read_pre_tokenizer(step, pre, path);
    }
    return byte_level;
  }
  if (type == "Split") {
    const JsonView pattern = view.at("pattern");
    const auto literal = pattern.find("String");
    const std::string text = literal ? escape_regex(literal->text()) : pattern.at("Regex").text();
    pre.splits.push_back({Regex(text, path), read_behavior(view), view.flag_or("invert", false)});
  } else if (type == "Digits") {
    // Rust's char::is_numeric is the general category N.
    const bool individual = view.flag_or("individual_digits", false);
    pre.splits.push_back({Regex(individual ? R"(\p{N})" : R"(\p{N}+)", path), SplitBehavior::kIsolated, false});
  } else if (type == "Metaspace") {
    read_metaspace(view, pre, path);
  } else if (type == "ByteLevel") {
    if (view.flag_or("add_prefix_space", true)) {
      if (!pre.splits.empty()) refuse(view, "a step before the pre-tokenizer", "ByteLevel with add_prefix_space");
      pre.add_prefix_space = true;
    }
    if (view.flag_or("use_regex", true)) {
      pre.splits.push_back({Regex(kGpt2Pattern, path), SplitBehavior::kIsolated, false});
    }
    return true;
  } else {
    refuse(view, "the pre-tokenizer", type);
  }
  return false;
}

void read_post_processor(const JsonView& view, TokenizerSpec& spec) {
  const std::string type = view.at("type").text();
  if (type == "Sequence") {
    for (const JsonView& step : view.at("processors").items()) read_post_processor(step, spec);
  } else if (type == "ByteLevel") {
    // Trims offsets only.
  } else if (type == "TemplateProcessing") {
    bool behind = false;
    const JsonView specials = view.at("special_tokens");
    for (const JsonView& piece : view.at("single").items()) {
      if (const auto special = piece.find("SpecialToken")) {
        for (const JsonView& id : specials.at(special->at("id").text()).at("ids").items()) {
          (behind ? spec.suffix : spec.prefix).push_back(static_cast<int32_t>(id.integer(0, kMaxVocab - 1)));
        }
      } else {
        piece.at("Sequence");
        if (behind) piece.fail("names the text a second time");
        behind = true;
      }
    }
    if (!behind) view.fail("'single' does not name the text");
  } else {
    refuse(view, "the post-processor", type);
  }
}

void read_decoder(const JsonView& view, std::vector<DecoderStep>& steps) {
  using Kind = DecoderStep::Kind;
  const std::string type = view.at("type").text();
  DecoderStep step;
  if (type == "Sequence") {
    for (const JsonView& part : view.at("decoders").items()) read_decoder(part, steps);
    return;
  } else if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    step.pattern = literal_pattern(view);
    step.content = view.at("content").text();
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    step.content = view.at("content").text();
    step.start = view.at("start").integer(0, 1 << 20);
    step.stop = view.at("stop").integer(0, 1 << 20);
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    step.pattern = view.text_or("replacement", "\xE2\x96\x81");
    step.strip_first = view.text_or("prepend_scheme", view.flag_or("add_prefix_space", true) ? "always" : "never") != "never";
  } else {
    refuse(view, "the decoder", type);
  }
  steps.push_back(step);
}

// The two large parts of the file, taken as they are read: 300,000 entries in some.
class BpeEntries {
 public:
  explicit BpeEntries(TokenizerSpec& spec) : spec_(spec) {}

  std::array<schema::JsonStream, 2> streams() {
    using Kind = nlohmann::json::value_t;
    return {{{{"model", "vocab"}, Kind::object, [this](std::string& text, nlohmann::json& id) { add_token(text, id); }},
             {{"model", "merges"}, Kind::array, [this](std::string&, nlohmann::json& merge) { add_merge(merge); }}}};
  }

  // When all is read. What was taken stands empty in the document; what is missing or of another kind, and so was not taken, is refused.
  void finish(const JsonView& model) {
    model.at("vocab").members();
    model.at("merges").items();
    if (ids_.empty()) take_ids();
    for (const nlohmann::json& merge : before_vocab_) read_merge(merge);
  }

  // The token of this text; -1: none. Until spec.tokens changes.
  int32_t find(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? -1 : found->second;
  }

 private:
  void add_token(std::string& text, const nlohmann::json& value) {
    // The pointer is for messages.
    const bool usual = value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(kMaxVocab);
    const auto id = static_cast<size_t>(usual ? value.get<int64_t>() : JsonView(value, spec_.path, "/model/vocab/" + text).integer(0, kMaxVocab - 1));
    if (id >= spec_.tokens.size()) spec_.tokens.resize(id + 1);
    if (!text.empty() && spec_.tokens[id] == text) refuse_twice(text);
    spec_.tokens[id] = std::move(text);
  }

  void add_merge(nlohmann::json& merge) {
    if (ids_.empty() && !spec_.tokens.empty()) take_ids();
    if (ids_.empty()) {
      before_vocab_.push_back(std::move(merge));
    } else {
      read_merge(merge);
    }
  }

  void take_ids() {
    ids_.reserve(spec_.tokens.size());
    for (size_t id = 0; id < spec_.tokens.size(); ++id) {
      const std::string& text = spec_.tokens[id];
      if (!text.empty() && !ids_.emplace(text, static_cast<int32_t>(id)).second) refuse_twice(text);
    }
    spec_.bpe.merges.reserve(spec_.tokens.size());
  }

  // "left right" or ["left", "right"].
  void read_merge(const nlohmann::json& merge) {
    std::string_view left, right;
    if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space != std::string_view::npos) left = text.substr(0, space), right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>(), right = merge[1].get_ref<const std::string&>();
    }
    both_.assign(left).append(right);
    const int32_t a = find(left), b = find(right), both = find(both_);
    if (a < 0 || b < 0 || both < 0) {
      throw FormatError(fmt::format("/model: merge {} ({}) is not a pair of tokens whose union is a token", rank_,
                                    merge.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)), spec_.path);
    }
    spec_.bpe.merges.insert(a, b, {rank_++, both});
  }

  [[noreturn]] void refuse_twice(const std::string& text) const {
    throw FormatError(fmt::format("/model/vocab: '{}' is given twice", text), spec_.path);
  }

  TokenizerSpec& spec_;
  std::unordered_map<std::string_view, int32_t> ids_;  // of spec_.tokens, when all of those are there
  std::vector<nlohmann::json> before_vocab_;           // merges
  uint32_t rank_ = 0;
  std::string both_;
};

void read_model(const JsonView& model, bool byte_level, BpeEntries& entries, TokenizerSpec& spec) {
  // Old files leave the type out; merges tell.
  const std::string type = model.text_or("type", model.find("merges") ? "BPE" : "unnamed");
  if (type != "BPE") refuse(model, "the model", type);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text_or(key, "").empty()) refuse(model, "BPE with", key);
  }
  if (const auto dropout = model.find("dropout"); dropout && dropout->value() != 0) refuse(model, "BPE with", "dropout");
  entries.finish(model);
  spec.bpe.byte_level = byte_level;
  spec.bpe.ignore_merges = model.flag_or("ignore_merges", false);
  spec.bpe.byte_fallback = model.flag_or("byte_fallback", false);
  spec.bpe.fuse_unk = model.flag_or("fuse_unk", false);
  if (byte_level && spec.bpe.byte_fallback) refuse(model, "byte-level BPE with", "byte_fallback");
  if (const auto unk = model.find("unk_token")) {
    const int32_t id = entries.find(unk->text());
    if (id < 0) unk->fail("is not in the vocabulary");
    spec.bpe.unk_id = spec.unk_id = id;
  }
}

}  // namespace

TokenizerSpec read_tokenizer_json(const std::filesystem::path& path) {
  TokenizerSpec spec;
  spec.path = path.string();
  BpeEntries entries(spec);
  const nlohmann::json json = schema::read_json_object(path, schema::kJsonMaxTokenizerBytes, entries.streams());
  const JsonView root(json, spec.path);
  if (const auto normalizer = root.find("normalizer")) read_normalizer(*normalizer, spec.normalizer);
  bool byte_level = false;
  if (const auto pre = root.find("pre_tokenizer")) byte_level = read_pre_tokenizer(*pre, spec.pre_tokenizer, spec.path);
  read_model(root.at("model"), byte_level, entries, spec);
  if (const auto post = root.find("post_processor")) read_post_processor(*post, spec);
  if (const auto decoder = root.find("decoder")) read_decoder(*decoder, spec.decoder);
  if (const auto added = root.find("added_tokens")) {
    for (const JsonView& view : added->items()) {
      place_added_token(spec, read_added_token(view, view.at("id").integer(0, kMaxVocab - 1)));
    }
  }
  return spec;
}

}  // namespace nibble::data
