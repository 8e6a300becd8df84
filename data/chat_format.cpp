// The table of the published formats. Each is stated from what the model's template renders; tests compare renderings and
// answers with those of the templates (tests/golden/chat).
#include "data/chat_format.h"

#include <fmt/format.h>

#include <array>

#include "schema/enum_names.h"

namespace nibble::data {
namespace {

// ChatML (OpenAI), which names every role in the header of its turn.
ChatFormat chatml() {
  ChatFormat f;
  f.system_header = "<|im_start|>system\n";
  f.system_footer = "<|im_end|>\n";
  f.later_system_header = f.system_header;
  f.user_header = "<|im_start|>user\n";
  f.user_footer = "<|im_end|>\n";
  f.answer_header = "<|im_start|>assistant\n";
  f.end_of_turn = "<|im_end|>";
  f.answer_footer = "\n";
  f.other_role = OtherRole::kNamed;
  f.other_header = "<|im_start|>{role}\n";
  f.other_footer = "<|im_end|>\n";
  f.tokens = {"<|im_start|>"};
  return f;
}

ChatFormat smollm2() {
  ChatFormat f = chatml();
  f.default_system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
  return f;
}

ChatFormat qwen25() {
  ChatFormat f = chatml();
  f.default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
  f.other_role = OtherRole::kLeftOut;
  return f;
}

ChatFormat qwen3() {
  ChatFormat f = chatml();
  f.other_role = OtherRole::kLeftOut;
  f.thinking = Thinking::kQwen3;
  return f;
}

// A BOS in front of every turn of the user; the system text inside the first one.
ChatFormat llama2() {
  ChatFormat f;
  f.system_place = SystemPlace::kFirstUser;
  f.system_header = "<<SYS>>\n";
  f.system_footer = "\n<</SYS>>\n\n";
  f.user_header = "{bos}[INST] ";
  f.user_footer = " [/INST]";
  f.answer_lead = " ";
  f.answer_tail = " ";
  f.end_of_turn = "{eos}";
  f.other_role = OtherRole::kLeftOut;
  f.order = TurnOrder::kAlternating;
  f.trim = TrimContent::kAll;
  return f;
}

ChatFormat llama3() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_header = "<|start_header_id|>system<|end_header_id|>\n\n";
  f.system_footer = "<|eot_id|>";
  f.later_system_header = f.system_header;
  f.user_header = "<|start_header_id|>user<|end_header_id|>\n\n";
  f.user_footer = "<|eot_id|>";
  f.answer_header = "<|start_header_id|>assistant<|end_header_id|>\n\n";
  f.end_of_turn = "<|eot_id|>";
  f.other_role = OtherRole::kNamed;
  f.other_header = "<|start_header_id|>{role}<|end_header_id|>\n\n";
  f.other_footer = "<|eot_id|>";
  f.trim = TrimContent::kAll;
  f.tokens = {"<|start_header_id|>", "<|end_header_id|>"};
  return f;
}

// There is always a system turn, with two dates; the second is the template's own where none is given.
ChatFormat llama31() {
  ChatFormat f = llama3();
  f.system_header += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  f.default_system = "";
  return f;
}

// The first published form: no system message, no space in front of an answer.
ChatFormat mistral_v1_old() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_place = SystemPlace::kRefused;
  f.user_header = "[INST] ";
  f.user_footer = " [/INST]";
  f.end_of_turn = "{eos}";
  f.order = TurnOrder::kAlternating;
  return f;
}

ChatFormat mistral_v1() {
  ChatFormat f = mistral_v1_old();
  f.system_place = SystemPlace::kFirstUser;
  f.system_footer = "\n\n";
  f.user_header = " [INST] ";
  f.answer_lead = " ";
  return f;
}

ChatFormat mistral_v3() {
  ChatFormat f = mistral_v1_old();
  f.system_place = SystemPlace::kLastUser;
  f.system_footer = "\n\n";
  f.user_footer = "[/INST]";
  f.answer_lead = " ";
  f.trim = TrimContent::kAnswers;
  f.tokens = {"[INST]", "[/INST]"};
  return f;
}

ChatFormat mistral_v3_tekken() {
  ChatFormat f = mistral_v3();
  f.user_header = "[INST]";
  f.answer_lead = "";
  f.trim = TrimContent::kNone;
  return f;
}

ChatFormat gemma() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_place = SystemPlace::kRefused;
  f.user_header = "<start_of_turn>user\n";
  f.user_footer = "<end_of_turn>\n";
  f.answer_header = "<start_of_turn>model\n";
  f.end_of_turn = "<end_of_turn>";
  f.answer_footer = "\n";
  f.other_role = OtherRole::kNamed;
  f.other_header = "<start_of_turn>{role}\n";
  f.other_footer = "<end_of_turn>\n";
  f.order = TurnOrder::kAlternating;
  f.trim = TrimContent::kAll;
  f.tokens = {"<start_of_turn>"};
  return f;
}

// Phi-3-mini: the tokenizer's EOS closes a whole conversation.
ChatFormat phi3() {
  ChatFormat f;
  f.system_header = "<|system|>\n";
  f.system_footer = "<|end|>\n";
  f.later_system_header = f.system_header;
  f.user_header = "<|user|>\n";
  f.user_footer = "<|end|>\n";
  f.answer_header = "<|assistant|>\n";
  f.end_of_turn = "<|end|>";
  f.answer_footer = "\n";
  f.closing = "{eos}";
  f.other_role = OtherRole::kLeftOut;
  f.tokens = {"<|system|>", "<|user|>", "<|assistant|>"};
  return f;
}

// The headers are plain text.
ChatFormat zephyr() {
  ChatFormat f;
  f.system_header = "<|system|>\n";
  f.system_footer = "{eos}\n";
  f.later_system_header = f.system_header;
  f.user_header = "<|user|>\n";
  f.user_footer = "{eos}\n";
  f.answer_header = "<|assistant|>\n";
  f.end_of_turn = "{eos}";
  f.answer_footer = "\n";
  f.other_role = OtherRole::kLeftOut;
  return f;
}

ChatFormat deepseek_v2() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_footer = "\n\n";
  f.later_system_header = "";
  f.user_header = "User: ";
  f.user_footer = "\n\n";
  f.answer_header = "Assistant:";
  f.answer_lead = " ";
  f.end_of_turn = "{eos}";
  f.other_role = OtherRole::kLeftOut;
  return f;
}

// A generation starts inside the thinking; answers are kept without it.
ChatFormat deepseek_r1() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_place = SystemPlace::kGathered;
  f.user_header = "<｜User｜>";
  f.answer_header = "<｜Assistant｜>";
  f.end_of_turn = "<｜end▁of▁sentence｜>";
  f.prompt_tail = "<think>\n";
  f.other_role = OtherRole::kLeftOut;
  f.thinking = Thinking::kDropped;
  f.tokens = {"<｜User｜>", "<｜Assistant｜>"};
  return f;
}

// Version 1.1, as FastChat writes it.
ChatFormat vicuna() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_footer = " ";
  f.default_system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the "
      "user's questions.";
  f.user_header = "USER: ";
  f.user_footer = " ";
  f.answer_header = "ASSISTANT:";
  f.answer_lead = " ";
  f.end_of_turn = "{eos}";
  f.bos_by_tokenizer = true;
  return f;
}

// Stanford's wording (github.com/tatsu-lab/stanford_alpaca); further turns behind an empty line.
ChatFormat alpaca() {
  ChatFormat f;
  f.opening = "{bos}";
  f.system_footer = "\n\n";
  f.default_system =
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
  f.user_header = "### Instruction:\n";
  f.user_footer = "\n\n";
  f.answer_header = "### Response:";
  f.end_of_turn = "{eos}";
  f.between = "\n\n";
  f.stanford_alpaca = true;
  f.bos_by_tokenizer = true;
  return f;
}

ChatFormat alpaca_newline() {
  ChatFormat f = alpaca();
  f.answer_header = "### Response:\n";
  return f;
}

ChatFormat nameless_format(ChatTemplate choice) {
  switch (choice) {
    case ChatTemplate::kAlpaca: return alpaca();
    case ChatTemplate::kAlpacaNewline: return alpaca_newline();
    case ChatTemplate::kChatml: return chatml();
    case ChatTemplate::kDeepseekR1: return deepseek_r1();
    case ChatTemplate::kDeepseekV2: return deepseek_v2();
    case ChatTemplate::kGemma: return gemma();
    case ChatTemplate::kLlama2: return llama2();
    case ChatTemplate::kLlama3: return llama3();
    case ChatTemplate::kLlama31: return llama31();
    case ChatTemplate::kMistralV1: return mistral_v1();
    case ChatTemplate::kMistralV1Old: return mistral_v1_old();
    case ChatTemplate::kMistralV3: return mistral_v3();
    case ChatTemplate::kMistralV3Tekken: return mistral_v3_tekken();
    case ChatTemplate::kPhi3: return phi3();
    case ChatTemplate::kQwen25: return qwen25();
    case ChatTemplate::kQwen3: return qwen3();
    case ChatTemplate::kSmollm2: return smollm2();
    case ChatTemplate::kVicuna: return vicuna();
    case ChatTemplate::kZephyr: return zephyr();
  }
  throw std::logic_error("unknown chat format");
}

// Every text of a format that the renderer writes.
template <class Format, class Visit>
void each_text(Format& f, const Visit& visit) {
  for (auto* text : {&f.opening, &f.system_header, &f.system_footer, &f.user_header, &f.user_footer, &f.answer_header, &f.answer_lead,
                     &f.answer_tail, &f.end_of_turn, &f.answer_footer, &f.between, &f.closing, &f.prompt_tail, &f.other_header, &f.other_footer}) {
    visit(*text);
  }
  if (f.later_system_header) visit(*f.later_system_header);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

}  // namespace

ChatFormat published_format(ChatTemplate choice) {
  ChatFormat format = nameless_format(choice);
  format.name = schema::enum_name(choice);
  return format;
}

ChatFormat bind_tokens(ChatFormat format, const std::string& bos, const std::string& eos) {
  each_text(format, [&](std::string& text) {
    replace_all(text, "{bos}", bos);
    replace_all(text, "{eos}", eos);
  });
  return format;
}

std::string fingerprint(const ChatFormat& f) {
  std::string out = fmt::format("{}:{}", f.name.size(), f.name);
  each_text(f, [&](const std::string& text) { out += fmt::format("|{}:{}", text.size(), text); });
  if (f.default_system) out += fmt::format("|default {}:{}", f.default_system->size(), *f.default_system);
  out += fmt::format("|{} {} {} {} {} {} {}", static_cast<int>(f.system_place), f.later_system_header.has_value(), static_cast<int>(f.other_role),
                     static_cast<int>(f.order), static_cast<int>(f.trim), static_cast<int>(f.thinking), f.stanford_alpaca);
  return out;
}

}  // namespace nibble::data
