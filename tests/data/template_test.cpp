// Which template a run uses, and what it refuses. Units: data/template, data/detect_format, data/hf_folder
#include "data/template.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "data/jinja_chat.h"
#include "schema/enum_names.h"
#include "tests/data/chat_fixtures.h"

namespace nibble::data {
namespace {

Conversation said(std::initializer_list<std::pair<const char*, const char*>> messages) {
  Conversation out;
  for (const auto& [role, content] : messages) out.messages.push_back({role, content});
  return out;
}

TemplateRequest named(ChatTemplate format) {
  TemplateRequest request;
  request.choice.format = format;
  return request;
}

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_has(const std::string& text, const std::string& part) { EXPECT_NE(text.find(part), std::string::npos) << text; }

std::string learned(const Rendering& out, size_t answer) {
  const Span span = out.answers.at(answer).span;
  return out.text.substr(span.begin, span.end - span.begin);
}

const char* kChatmlJinja =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

TEST(ChooseTemplate, AModelWithoutATemplateNamesWhatFitsItsTokenizer) {
  const Tokenizer tokenizer = byte_tokenizer({"<|im_start|>", "<|im_end|>"}, "", "</s>");
  const std::string message = message_of([&] { choose_template({}, tokenizer); });
  expect_has(message, "chat_template_path");
  expect_has(message, "alpaca, alpaca_newline, chatml, ");
  expect_has(message, "qwen3");
  EXPECT_EQ(message.find("gemma"), std::string::npos) << message;
  expect_has(message_of([&] { choose_template({}, byte_tokenizer({}, "", "")); }), "eos_token");
}

TEST(ChooseTemplate, AFormatWhoseTokensAreMissingIsRefusedByName) {
  const Tokenizer tokenizer = byte_tokenizer({"<|im_end|>"}, "<s>", "</s>");
  for (const auto& [format, token] : {std::pair(ChatTemplate::kChatml, "<|im_start|>"), {ChatTemplate::kLlama3, "<|eot_id|>"}, {ChatTemplate::kGemma, "<end_of_turn>"},
                                      {ChatTemplate::kMistralV3, "[INST]"}, {ChatTemplate::kPhi3, "<|end|>"}}) {
    const std::string message = message_of([&, f = format] { choose_template(named(f), tokenizer); });
    expect_has(message, schema::enum_name(format).data());
    expect_has(message, std::string(token) + ", which is not a token of this model");
    expect_has(message, "what fits this tokenizer");
  }
  EXPECT_EQ(choose_template(named(ChatTemplate::kMistralV1), tokenizer).end_of_turn, "</s>");
}

TEST(ChooseTemplate, BosIsWrittenWhereTheFormatOrTheTokenizerHasIt) {
  const auto text = [](ChatTemplate format, bool adds_bos) {
    return render(choose_template(named(format), byte_tokenizer(published_specials(), "<s>", "</s>", "", adds_bos)), said({{"user", "Hi"}}), true).text;
  };
  EXPECT_TRUE(text(ChatTemplate::kAlpaca, true).starts_with("<s>Below"));
  EXPECT_TRUE(text(ChatTemplate::kAlpaca, false).starts_with("Below"));  // a format of no one model
  EXPECT_EQ(text(ChatTemplate::kLlama2, false), "<s>[INST] Hi [/INST]");
  EXPECT_EQ(text(ChatTemplate::kChatml, true), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChooseTemplate, ANamedFormatThatIsTheModelsOwnKeepsItsTools) {
  const auto golden = read_golden_json("chat/templates.json")["templates"]["qwen2.5"];
  const Template chat = choose_template(named(ChatTemplate::kQwen25), byte_tokenizer(published_specials(), "", "<|im_end|>", golden["template"]));
  EXPECT_EQ(chat.name, "qwen2.5");
  EXPECT_TRUE(chat.jinja);
  const Template other = choose_template(named(ChatTemplate::kQwen3), byte_tokenizer(published_specials(), "", "<|im_end|>", golden["template"]));
  EXPECT_FALSE(other.jinja);
}

TEST(ChooseTemplate, ATemplateThatCannotBeParsedIsToldWithItsPlace) {
  const std::string message =
      message_of([] { choose_template({}, byte_tokenizer(published_specials(), "", "</s>", "{% for m in messages %}\n{{ m.content ")); });
  expect_has(message, "the model's own");
  expect_has(message, "chat_template_path");
  expect_has(message, ":2");
}

class TemplateFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  Template choose(const std::filesystem::path& path) {
    TemplateRequest request;
    request.choice.path = path.string();
    return choose_template(request, byte_tokenizer(published_specials(), "<s>", "</s>", "a template of the model that is not used"));
  }
  std::filesystem::path folder_;
};

TEST_F(TemplateFile, IsReadFromAFileOrATokenizersFolder) {
  EXPECT_EQ(choose(write("my.jinja", kChatmlJinja)).name, "chatml, my.jinja");
  const std::filesystem::path changed = write("changed.jinja", std::string(kChatmlJinja) + "!");
  EXPECT_EQ(choose(changed).name, "changed.jinja (Jinja)");
  std::filesystem::remove(folder_ / "my.jinja");
  write("tokenizer_config.json", nlohmann::json{{"chat_template", kChatmlJinja}}.dump());
  EXPECT_EQ(choose(folder_).format->name, "chatml");
  write("chat_template.jinja", std::string(kChatmlJinja) + "!");
  EXPECT_FALSE(choose(folder_).format);  // the file of its own counts
}

TEST_F(TemplateFile, ThatIsNotThereOrHoldsNothingIsToldByItsPath) {
  expect_has(message_of([&] { choose(folder_ / "none.jinja"); }), "none.jinja");
  expect_has(message_of([&] { choose(write("empty.jinja", "")); }), "is empty");
  expect_has(message_of([&] { choose(folder_); }), "no chat template");
  expect_has(message_of([&] { choose(write("large.jinja", std::string((4 << 20) + 1, 'x'))); }), "is no template");
}

Template with_affixes(const RoleAffixes& affixes, const Tokenizer& tokenizer) {
  TemplateRequest request;
  request.affixes = affixes;
  return choose_template(request, tokenizer);
}

TEST(RoleAffixesTest, WriteTurnsAndLearnTheAnswerWithItsEnd) {
  const Template chat = with_affixes({"SYS ", "\n", "Q: ", "\n", "A:", "<|end|>\n"}, byte_tokenizer({"<|end|>"}, "<s>", "</s>"));
  const Rendering out = render(chat, said({{"system", "Be brief."}, {"user", "Hi"}, {"assistant", " Hello"}, {"user", "Bye"}, {"assistant", "Ciao"}}), false);
  EXPECT_EQ(out.text, "<s>SYS Be brief.\nQ: Hi\nA: Hello<|end|>\nQ: Bye\nA:Ciao<|end|>\n");
  EXPECT_EQ(learned(out, 0), " Hello<|end|>");
  EXPECT_EQ(learned(out, 1), "Ciao<|end|>");
  EXPECT_EQ(render(chat, said({{"user", "Hi"}}), true).text, "<s>Q: Hi\nA:");
  EXPECT_EQ(chat.end_of_turn, "<|end|>");
}

TEST(RoleAffixesTest, TakeTheEosWhereNoSuffixEndsAnAnswer) {
  const Template chat = with_affixes({"", "", "[INST] ", " [/INST]", "", ""}, byte_tokenizer({}, "<s>", "</s>"));
  EXPECT_EQ(render(chat, said({{"user", "Hi"}, {"assistant", "Yo"}}), false).text, "<s>[INST] Hi [/INST]Yo</s>");
  expect_has(message_of([&] { render(chat, said({{"system", "x"}, {"user", "Hi"}}), false); }), "'system'");
  expect_has(message_of([&] { render(chat, said({{"user", "Hi"}, {"tool", "x"}}), false); }), "tool");
  // A BOS that the prefix writes itself is not doubled.
  EXPECT_EQ(render(with_affixes({"", "", "<s>[INST] ", "", "[/INST]", ""}, byte_tokenizer({}, "<s>", "</s>")), said({{"user", "Hi"}}), true).text, "<s>[INST] Hi[/INST]");
}

TEST(RoleAffixesTest, NeedATokenThatEndsATurn) {
  expect_has(message_of([] { with_affixes({"", "", "Q", "", "A", "END"}, byte_tokenizer({}, "<s>", "</s>")); }), "does not begin with a special token");
  expect_has(message_of([] { with_affixes({"", "", "Q", "", "A", ""}, byte_tokenizer({}, "", "")); }), "chat_template_assistant_suffix");
}

TEST(RenderTemplate, RefusesWhatAFormatHasNoPlaceFor) {
  const Tokenizer tokenizer = byte_tokenizer(published_specials(), "<s>", "</s>");
  const auto refusal = [&](ChatTemplate format, const Conversation& conversation) {
    return message_of([&] { render(choose_template(named(format), tokenizer), conversation, false); });
  };
  expect_has(refusal(ChatTemplate::kLlama2, said({{"user", "a"}, {"user", "b"}})), "message 2 is of role 'user': the chat format llama2 wants user and assistant in turns");
  expect_has(refusal(ChatTemplate::kGemma, said({{"system", "a"}, {"user", "b"}})), "no place for a system message");
  expect_has(refusal(ChatTemplate::kAlpaca, said({{"user", "a"}, {"system", "b"}})), "message 2 is of role 'system'");
  expect_has(refusal(ChatTemplate::kVicuna, said({{"critic", "a"}})), "'critic'");
  expect_has(refusal(ChatTemplate::kChatml, said({{"user", "a"}, {"tool", "b"}})), "the chat format chatml has no way to write that");
  expect_has(refusal(ChatTemplate::kChatml, Conversation{}), "without messages");
  Conversation calls = said({{"user", "a"}, {"assistant", ""}});
  calls.messages[1].fields["tool_calls"] = nlohmann::ordered_json::array({"f"});
  expect_has(refusal(ChatTemplate::kQwen3, calls), "message 2 calls tools");
  Conversation offers = said({{"user", "a"}});
  offers.tools = nlohmann::ordered_json::array({"f"});
  expect_has(refusal(ChatTemplate::kChatml, offers), "offers tools");
  Conversation thinks = said({{"user", "a"}, {"assistant", "b"}});
  thinks.messages[1].fields["reasoning_content"] = "hm";
  expect_has(refusal(ChatTemplate::kChatml, thinks), "reasoning_content");
  thinks.messages[1].fields["reasoning_content"] = "";
  EXPECT_EQ(refusal(ChatTemplate::kChatml, thinks), "no error");
}

TEST(RenderTemplate, TellsWhatTheTemplateLeavesOut) {
  const Tokenizer tokenizer = byte_tokenizer(published_specials(), "<s>", "</s>");
  const Rendering mistral = render(choose_template(named(ChatTemplate::kMistralV3), tokenizer), said({{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Yo"}}), false);
  EXPECT_EQ(mistral.text, "<s>[INST] Hi[/INST] Yo</s>");  // Mistral's rule: only in a last turn of the user
  EXPECT_EQ(mistral.left_out, (std::vector<int64_t>{0}));
  const Rendering chatml = render(choose_template(named(ChatTemplate::kChatml), tokenizer), said({{"system", ""}, {"user", "Hi"}, {"assistant", "Yo"}}), false);
  EXPECT_TRUE(chatml.left_out.empty());
  const Template jinja = choose_template({}, byte_tokenizer(published_specials(), "<s>", "</s>",
                                                            "{% for m in messages if m.role != 'system' %}<|user|>{{ m.content }}</s>{% endfor %}"));
  EXPECT_EQ(render(jinja, said({{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Yo"}}), false).left_out, (std::vector<int64_t>{0}));
}

TEST(RenderTemplate, OtherRolesAndFieldsGoThroughTheModelsOwnJinja) {
  const Template chat = choose_template({}, byte_tokenizer(published_specials(), "", "<|im_end|>", kChatmlJinja));
  ASSERT_EQ(chat.format->name, "chatml");
  EXPECT_EQ(render(chat, said({{"user", "Hi"}, {"tool", "42"}, {"assistant", "Yo"}}), false).text,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>tool\n42<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n");
}

TEST(TemplateHash, DependsOnWhatIsWritten) {
  const Tokenizer tokenizer = byte_tokenizer(published_specials(), "<s>", "</s>", kChatmlJinja);
  std::vector<std::string> hashes;
  for (size_t i = 0; i < schema::EnumNames<ChatTemplate>::names.size(); ++i) {
    hashes.push_back(choose_template(named(static_cast<ChatTemplate>(i)), tokenizer).hash());
  }
  hashes.push_back(choose_template({}, byte_tokenizer(published_specials(), "<s>", "</s>", std::string(kChatmlJinja) + "!")).hash());
  TemplateRequest thinking = named(ChatTemplate::kQwen3);
  thinking.enable_thinking = false;
  hashes.push_back(choose_template(thinking, tokenizer).hash());
  hashes.push_back(with_affixes({"", "", "Q", "", "A", ""}, tokenizer).hash());
  hashes.push_back(with_affixes({"", "", "Q", "", "B", ""}, tokenizer).hash());
  hashes.push_back(choose_template(named(ChatTemplate::kLlama2), byte_tokenizer(published_specials(), "<|end|>", "</s>")).hash());
  EXPECT_EQ(std::set<std::string>(hashes.begin(), hashes.end()).size(), hashes.size());
  EXPECT_EQ(choose_template(named(ChatTemplate::kGemma), tokenizer).hash(), choose_template(named(ChatTemplate::kGemma), tokenizer).hash());
}

TEST(AlpacaMessages, HaveStanfordsWordingUnderAlpacaOnly) {
  const Tokenizer tokenizer = byte_tokenizer(published_specials(), "", "</s>");
  const auto alpaca = alpaca_messages(choose_template(named(ChatTemplate::kAlpaca), tokenizer), "Add.", "1 2", "3");
  ASSERT_EQ(alpaca.size(), 3u);
  expect_has(alpaca[0].content, "paired with an input");
  EXPECT_EQ(alpaca[1].content, "Add.\n\n### Input:\n1 2");
  const auto chatml = alpaca_messages(choose_template(named(ChatTemplate::kChatml), tokenizer), "Add.", "1 2", "3");
  ASSERT_EQ(chatml.size(), 2u);
  EXPECT_EQ(chatml[0].content, "Add.\n1 2");
}

}  // namespace
}  // namespace nibble::data
