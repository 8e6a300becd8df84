#include "data/template.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "data/detect_format.h"
#include "data/jinja_chat.h"
#include "data/render_turns.h"
#include "data/tokenizer_spec.h"
#include "schema/enum_names.h"

namespace nibble::data {
namespace {

// github.com/tatsu-lab/stanford_alpaca, the form for rows with an input.
constexpr std::string_view kAlpacaSystemWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
    "that appropriately completes the request.";

std::string token_text(const Tokenizer& tokenizer, int32_t id) { return id >= 0 ? tokenizer.token(id) : ""; }

ChatFormat bound(ChatFormat format, const Tokenizer& tokenizer) {
  const bool writes_bos = !format.bos_by_tokenizer || tokenizer.adds_bos();
  return bind_tokens(std::move(format), writes_bos ? token_text(tokenizer, tokenizer.bos_id()) : "", token_text(tokenizer, tokenizer.eos_id()));
}

// The first token that the format writes and the vocabulary does not have; nullopt: it fits. "": the tokenizer names no EOS.
std::optional<std::string> missing_token(const ChatFormat& format, const Tokenizer& tokenizer) {
  if (format.end_of_turn.empty() || tokenizer.token_id(format.end_of_turn) < 0) return format.end_of_turn;
  for (const std::string& token : format.tokens) {
    if (tokenizer.token_id(token) < 0) return token;
  }
  return std::nullopt;
}

// The names of the built-in formats that the tokenizer has the tokens for.
std::string fitting_formats(const Tokenizer& tokenizer) {
  std::string names;
  for (size_t i = 0; i < schema::EnumNames<ChatTemplate>::names.size(); ++i) {
    const ChatFormat format = bound(published_format(static_cast<ChatTemplate>(i)), tokenizer);
    if (!missing_token(format, tokenizer)) names += (names.empty() ? "" : ", ") + format.name;
  }
  return names.empty() ? "none, since it names no EOS token: add \"eos_token\" to tokenizer_config.json" : names;
}

[[noreturn]] void refuse(const std::string& why, const Tokenizer& tokenizer) {
  throw ConfigError(fmt::format("{}; what fits this tokenizer for chat_template_path: {}, or a .jinja file", why, fitting_formats(tokenizer)));
}

void require_tokens(const ChatFormat& format, const Tokenizer& tokenizer) {
  const auto missing = missing_token(format, tokenizer);
  if (!missing) return;
  if (missing->empty()) refuse(fmt::format("chat_template_path: {} ends answers with the tokenizer's EOS token, but this tokenizer names none", format.name), tokenizer);
  refuse(fmt::format("chat_template_path: {} writes {}, which is not a token of this model, so that {} could not be learned", format.name, *missing,
                     *missing == format.end_of_turn ? "the end of a turn" : "its turns"), tokenizer);
}

Template native(ChatFormat format, const TemplateRequest& request) {
  Template chat;
  chat.name = format.name;
  chat.end_of_turn = format.end_of_turn;
  chat.turn_ends = {format.end_of_turn};
  chat.format = std::move(format);
  chat.enable_thinking = request.enable_thinking;
  chat.answers_needed = request.answers_needed;
  return chat;
}

// whose: "the model's own", or a file's name.
Template from_jinja(const std::string& source, const std::string& whose, const TemplateRequest& request, const Tokenizer& tokenizer) {
  std::shared_ptr<const JinjaChat> jinja;
  try {
    jinja = std::make_shared<JinjaChat>(source, whose, tokenizer, JinjaSettings{request.enable_thinking, request.now});
  } catch (const FormatError& error) {
    refuse(fmt::format("the chat template cannot be used: {}", error.what()), tokenizer);
  }
  Template chat;
  auto format = detect_format(*jinja, token_text(tokenizer, tokenizer.bos_id()), token_text(tokenizer, tokenizer.eos_id()), request.enable_thinking);
  if (format && !missing_token(*format, tokenizer)) {
    chat = native(std::move(*format), request);
    chat.name += ", " + whose;
  } else {
    if (request.answers_needed && !jinja->tells_answers()) {
      refuse(fmt::format("the chat template ({}) ends answers with no special token of the tokenizer, so that their end could neither be told nor learned (a template "
                         "with {{% generation %}} blocks tells it, and assistant_only_loss: false needs none)", whose), tokenizer);
    }
    chat.name = whose + " (Jinja)";
    chat.enable_thinking = request.enable_thinking;
    chat.answers_needed = request.answers_needed;
  }
  for (const std::string& end : jinja->turn_ends()) {
    if (std::find(chat.turn_ends.begin(), chat.turn_ends.end(), end) == chat.turn_ends.end()) chat.turn_ends.push_back(end);
  }
  if (!chat.turn_ends.empty()) chat.end_of_turn = chat.turn_ends.front();
  chat.jinja = std::move(jinja);
  return chat;
}

// The longest token of the tokenizer that the text begins with, special ones only.
std::string leading_special_token(std::string_view text, const Tokenizer& tokenizer) {
  std::string longest;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(id) && id != tokenizer.eos_id()) continue;
    const std::string& token = tokenizer.token(id);
    if (token.size() > longest.size() && text.starts_with(token)) longest = token;
  }
  return longest;
}

ChatFormat format_of(const RoleAffixes& affixes, const Tokenizer& tokenizer) {
  ChatFormat f;
  f.name = "of chat_template_*_prefix and _suffix";
  f.opening = tokenizer.adds_bos() ? token_text(tokenizer, tokenizer.bos_id()) : "";
  const std::string beginning = affixes.system_prefix.empty() ? affixes.user_prefix : affixes.system_prefix;
  if (!f.opening.empty() && beginning.starts_with(f.opening)) f.opening.clear();  // it is written out there
  if (affixes.system_prefix.empty() && affixes.system_suffix.empty()) {
    f.system_place = SystemPlace::kRefused;
  } else {
    f.system_header = affixes.system_prefix;
    f.system_footer = affixes.system_suffix;
    f.later_system_header = affixes.system_prefix;
  }
  f.user_header = affixes.user_prefix;
  f.user_footer = affixes.user_suffix;
  f.answer_header = affixes.assistant_prefix;
  std::string suffix = affixes.assistant_suffix;
  if (suffix.empty()) suffix = token_text(tokenizer, tokenizer.eos_id());
  f.end_of_turn = leading_special_token(suffix, tokenizer);
  if (f.end_of_turn.empty()) {
    throw ConfigError(suffix.empty() ? "chat_template_assistant_suffix is empty and the tokenizer names no EOS token: write the token that ends an answer"
                                     : fmt::format("chat_template_assistant_suffix = \"{}\" does not begin with a special token of this model, so that the end of a turn "
                                                   "could not be learned; begin it with one{}", suffix,
                                                   tokenizer.eos_id() < 0 ? "" : fmt::format(", such as {}", tokenizer.token(tokenizer.eos_id()))));
  }
  f.answer_footer = suffix.substr(f.end_of_turn.size());
  return f;
}

Template from_path(const std::filesystem::path& path, const TemplateRequest& request, const Tokenizer& tokenizer) {
  constexpr uintmax_t kMostBytes = 4 << 20;  // published templates have 20 KiB at most
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  if (!folder && !std::filesystem::is_regular_file(path, ignored)) {
    throw ConfigError("chat_template_path names this file, which does not exist; correct the path (relative ones start at the YAML file)", {path.string()});
  }
  if (const uintmax_t bytes = folder ? 0 : std::filesystem::file_size(path, ignored); bytes > kMostBytes) {
    throw ConfigError(fmt::format("chat_template_path names this file of {} bytes, which is no template (limit {})", bytes, kMostBytes), {path.string()});
  }
  const std::string source = folder ? read_folder_template(path) : read_text(path);
  if (source.empty()) {
    throw ConfigError(folder ? "chat_template_path names this folder, which has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)"
                             : "chat_template_path names this file, which is empty", {path.string()});
  }
  return from_jinja(source, path.filename().string(), request, tokenizer);
}

// Where the model's own template is the chosen format, it still knows more than the format: tools.
std::optional<Template> own_template_of(const ChatFormat& format, const TemplateRequest& request, const Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty()) return std::nullopt;
  try {
    Template own = from_jinja(tokenizer.chat_template(), "the model's own", request, tokenizer);
    if (!own.format || fingerprint(*own.format) != fingerprint(format)) return std::nullopt;
    own.name = format.name;
    return own;
  } catch (const ConfigError&) {
    return std::nullopt;
  }
}

// What only the template's own Jinja knows how to write.
bool needs_jinja(const Conversation& conversation) {
  if (!conversation.tools.is_null() && !conversation.tools.empty()) return true;
  return std::any_of(conversation.messages.begin(), conversation.messages.end(), [](const Message& message) {
    return !message.fields.empty() || (message.role != "system" && message.role != "user" && message.role != "assistant");
  });
}

}  // namespace

Template choose_template(const TemplateRequest& request, const Tokenizer& tokenizer) {
  if (request.affixes) return native(format_of(*request.affixes, tokenizer), request);
  if (request.choice.format) {
    const ChatFormat format = bound(published_format(*request.choice.format), tokenizer);
    require_tokens(format, tokenizer);
    if (auto own = own_template_of(format, request, tokenizer)) return std::move(*own);
    return native(format, request);
  }
  if (!request.choice.path.empty()) return from_path(request.choice.path, request, tokenizer);
  if (tokenizer.chat_template().empty()) refuse("the data has conversations, and the model has no chat template of its own: set chat_template_path", tokenizer);
  return from_jinja(tokenizer.chat_template(), "the model's own", request, tokenizer);
}

Rendering render(const Template& chat, const Conversation& conversation, bool add_generation_prompt) {
  if (conversation.messages.empty()) throw DataError("a conversation without messages cannot be written");
  if (chat.format && !(chat.jinja && needs_jinja(conversation))) {
    return render_turns(*chat.format, conversation, add_generation_prompt, chat.enable_thinking);
  }
  return chat.jinja->render(conversation, add_generation_prompt, chat.answers_needed);
}

std::string Template::hash() const {
  std::string text = format ? fingerprint(*format) : "";
  if (jinja) text += "\n" + jinja->fingerprint();
  text += fmt::format("\n{} {}", enable_thinking ? (*enable_thinking ? "thinking" : "not thinking") : "auto", answers_needed);
  return xxh3_128(text);
}

std::vector<Message> alpaca_messages(const Template& chat, const std::string& instruction, const std::string& input,
                                     const std::string& output) {
  const bool stanford = chat.format && chat.format->stanford_alpaca;
  std::vector<Message> messages;
  std::string user = instruction;
  if (!input.empty()) {
    if (stanford) messages.push_back({"system", std::string(kAlpacaSystemWithInput)});
    user += (stanford ? "\n\n### Input:\n" : "\n") + input;
  }
  messages.push_back({"user", user});
  messages.push_back({"assistant", output});
  return messages;
}

}  // namespace nibble::data
