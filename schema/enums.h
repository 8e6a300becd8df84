// The choices that configuration offers, by the names that people write in YAML. A switch over one of these has no
// default, so that -Wswitch lists the places where a new value needs code.
#pragma once

#include <cstdint>

namespace nibble {

enum class QuantType : uint8_t { kNf4, kFp4 };                          // bnb_4bit_quant_type: nf4, fp4
enum class ComputeDtype : uint8_t { kBfloat16, kFloat32 };              // bnb_4bit_compute_dtype: bfloat16, float32
enum class Schedule : uint8_t { kLinear, kCosine, kConstant, kConstantWithWarmup };  // lr_scheduler_type
enum class Optim : uint8_t {                                            // optim: adamw_torch, adamw_8bit, ...
  kAdamwTorch, kAdamw8bit, kPagedAdamw32bit, kPagedAdamw8bit, kLion32bit, kLion8bit, kPagedLion32bit, kPagedLion8bit
};
enum class Recompute : uint8_t { kAuto, kNone, kElementwise, kMlp, kLayer, kOffload };  // recompute
enum class BaseResidency : uint8_t { kAuto, kResident, kStreamed };                    // base_residency
enum class AutoSwitch : uint8_t { kAuto, kTrue, kFalse };               // a switch that may be left to the planner
enum class DatasetFormat : uint8_t {                                    // dataset_format: auto, alpaca, text, ...
  kAuto, kAlpaca, kText, kPretokenized, kMessages, kShareGpt, kPromptCompletion, kSegments
};
enum class ChatTemplate : uint8_t {                                     // built-in chat formats: chat_template_path
  kAlpaca, kAlpacaNewline, kChatml, kDeepseekR1, kDeepseekV2, kGemma, kLlama2, kLlama3, kLlama31, kMistralV1, kMistralV1Old,
  kMistralV3, kMistralV3Tekken, kPhi3, kQwen25, kQwen3, kSmollm2, kVicuna, kZephyr
};
enum class Truncation : uint8_t { kRaise, kTruncate, kDrop };           // truncation
enum class PackingStrategy : uint8_t { kFfd, kBfd };                    // packing_strategy
enum class DeviceChoice : uint8_t { kAuto, kCpu, kCuda };               // device
enum class EvalStrategy : uint8_t { kNo, kSteps, kEpoch };              // eval_strategy
enum class NanPolicy : uint8_t { kSkip, kStop, kRewind };                // nan_policy
enum class LossSpikePolicy : uint8_t { kNone, kWarn, kSkip, kStop, kRewind };  // loss_spike_policy
enum class ReportTo : uint8_t { kNone };                                // report_to

}  // namespace nibble
