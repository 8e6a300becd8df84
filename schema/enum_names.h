// The YAML names of every enumeration, in order of declaration.
#pragma once

#include <array>
#include <string_view>

#include "schema/enums.h"

namespace nibble::schema {

template <class Enum>
struct EnumNames;

template <> struct EnumNames<QuantType> { static constexpr std::array<std::string_view, 2> names{"nf4", "fp4"}; };
template <> struct EnumNames<ComputeDtype> { static constexpr std::array<std::string_view, 2> names{"bfloat16", "float32"}; };
template <> struct EnumNames<Schedule> {
  static constexpr std::array<std::string_view, 4> names{"linear", "cosine", "constant", "constant_with_warmup"};
};
template <> struct EnumNames<Optim> {
  static constexpr std::array<std::string_view, 8> names{"adamw_torch",  "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit",
                                                         "lion_32bit",   "lion_8bit",  "paged_lion_32bit",  "paged_lion_8bit"};
};
template <> struct EnumNames<Recompute> {
  static constexpr std::array<std::string_view, 6> names{"auto", "none", "elementwise", "mlp", "layer", "offload"};
};
template <> struct EnumNames<BaseResidency> { static constexpr std::array<std::string_view, 3> names{"auto", "resident", "streamed"}; };
template <> struct EnumNames<AutoSwitch> { static constexpr std::array<std::string_view, 3> names{"auto", "true", "false"}; };
template <> struct EnumNames<DatasetFormat> {
  static constexpr std::array<std::string_view, 8> names{"auto",     "alpaca",   "text",              "pretokenized",
                                                         "messages", "sharegpt", "prompt-completion", "segments"};
};
template <> struct EnumNames<ChatTemplate> {
  static constexpr std::array<std::string_view, 19> names{
      "alpaca", "alpaca_newline", "chatml", "deepseek_r1", "deepseek_v2", "gemma", "llama2", "llama3", "llama3.1", "mistral_v1",
      "mistral_v1_old", "mistral_v3", "mistral_v3_tekken", "phi3", "qwen2.5", "qwen3", "smollm2", "vicuna", "zephyr"};
};
template <> struct EnumNames<Truncation> { static constexpr std::array<std::string_view, 3> names{"raise", "truncate", "drop"}; };
template <> struct EnumNames<PackingStrategy> { static constexpr std::array<std::string_view, 2> names{"ffd", "bfd"}; };
template <> struct EnumNames<DeviceChoice> { static constexpr std::array<std::string_view, 3> names{"auto", "cpu", "cuda"}; };
template <> struct EnumNames<EvalStrategy> { static constexpr std::array<std::string_view, 3> names{"no", "steps", "epoch"}; };
template <> struct EnumNames<NanPolicy> { static constexpr std::array<std::string_view, 3> names{"skip", "stop", "rewind"}; };
template <> struct EnumNames<LossSpikePolicy> { static constexpr std::array<std::string_view, 5> names{"none", "warn", "skip", "stop", "rewind"}; };
template <> struct EnumNames<ReportTo> { static constexpr std::array<std::string_view, 1> names{"none"}; };

// Other names that people write for a value; the effective configuration shows the value's own.
template <class Enum>
struct EnumName {
  std::string_view name;
  Enum value;
};
template <class Enum>
struct EnumAliases { static constexpr std::array<EnumName<Enum>, 0> names{}; };
template <> struct EnumAliases<Optim> {
  static constexpr std::array<EnumName<Optim>, 2> names{{{"adamw_bnb_8bit", Optim::kAdamw8bit},
                                                         {"adamw_torch_fused", Optim::kAdamwTorch}}};
};
// As axolotl, LLaMA-Factory and Unsloth call the same formats. "mistral" is the form of today's tokenizers, in which [INST] is
// a token; others refuse it and name what fits.
template <> struct EnumAliases<ChatTemplate> {
  static constexpr std::array<EnumName<ChatTemplate>, 33> names{{
      {"deepseek", ChatTemplate::kDeepseekV2},          {"deepseek-v2", ChatTemplate::kDeepseekV2},
      {"deepseek-r1", ChatTemplate::kDeepseekR1},       {"deepseekr1", ChatTemplate::kDeepseekR1},
      {"gemma2", ChatTemplate::kGemma},                 {"gemma-2", ChatTemplate::kGemma},
      {"hermes", ChatTemplate::kChatml},                {"llama", ChatTemplate::kLlama2},
      {"llama-2", ChatTemplate::kLlama2},               {"llama-3", ChatTemplate::kLlama3},
      {"llama-3.1", ChatTemplate::kLlama31},            {"llama31", ChatTemplate::kLlama31},
      {"llama3.2", ChatTemplate::kLlama31},             {"llama-3.2", ChatTemplate::kLlama31},
      {"llama3.3", ChatTemplate::kLlama31},             {"llama-3.3", ChatTemplate::kLlama31},
      {"mistral", ChatTemplate::kMistralV3},            {"mistral-v1", ChatTemplate::kMistralV1},
      {"mistral_v2v3", ChatTemplate::kMistralV3},       {"mistral-v3", ChatTemplate::kMistralV3},
      {"mistral-nemo", ChatTemplate::kMistralV3Tekken}, {"mistral_nemo", ChatTemplate::kMistralV3Tekken},
      {"phi-3", ChatTemplate::kPhi3},                   {"phi_3", ChatTemplate::kPhi3},
      {"phi", ChatTemplate::kPhi3},                     {"qwen", ChatTemplate::kQwen25},
      {"qwen2", ChatTemplate::kQwen25},                 {"qwen25", ChatTemplate::kQwen25},
      {"qwen_25", ChatTemplate::kQwen25},               {"qwen-2.5", ChatTemplate::kQwen25},
      {"qwen-3", ChatTemplate::kQwen3},                 {"qwen_3", ChatTemplate::kQwen3},
      {"smollm", ChatTemplate::kSmollm2}}};
};

// TRL's and axolotl's names of the same shapes.
template <> struct EnumAliases<DatasetFormat> {
  static constexpr std::array<EnumName<DatasetFormat>, 5> names{{{"prompt_completion", DatasetFormat::kPromptCompletion},
                                                                 {"openai", DatasetFormat::kMessages},
                                                                 {"chat_template", DatasetFormat::kMessages},
                                                                 {"completion", DatasetFormat::kText},
                                                                 {"input_output", DatasetFormat::kSegments}}};
};

template <class Enum>
constexpr std::string_view enum_name(Enum value) {
  return EnumNames<Enum>::names[static_cast<size_t>(value)];
}

}  // namespace nibble::schema
