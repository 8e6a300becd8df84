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
template <> struct EnumNames<TemplateChoice> { static constexpr std::array<std::string_view, 3> names{"auto", "alpaca", "chatml"}; };
template <> struct EnumNames<Truncation> { static constexpr std::array<std::string_view, 3> names{"raise", "truncate", "drop"}; };
template <> struct EnumNames<PackingStrategy> { static constexpr std::array<std::string_view, 2> names{"ffd", "bfd"}; };
template <> struct EnumNames<DeviceChoice> { static constexpr std::array<std::string_view, 3> names{"auto", "cpu", "cuda"}; };
template <> struct EnumNames<EvalStrategy> { static constexpr std::array<std::string_view, 3> names{"no", "steps", "epoch"}; };
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
