// Answers in renderings of Jinja templates of every build, and what cannot be told. Units: data/answer_spans, data/jinja_chat
#include "data/answer_spans.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/jinja_chat.h"
#include "tests/data/chat_fixtures.h"

namespace nibble::data {
namespace {

std::vector<std::string> specials() {
  std::vector<std::string> all = published_specials();
  for (const char* token : {"<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|sep|>", "<|calls_end|>"}) all.push_back(token);
  return all;
}

JinjaChat chat_of(const std::string& source) { return JinjaChat(source, "test.jinja", byte_tokenizer(specials(), "<s>", "</s>"), {}); }

Conversation said(std::initializer_list<std::pair<const char*, const char*>> messages) {
  Conversation out;
  for (const auto& [role, content] : messages) out.messages.push_back({role, content});
  return out;
}

Conversation two_turns() { return said({{"user", "Q1"}, {"assistant", "A1"}, {"user", "Q2"}, {"assistant", "A2"}}); }

// The texts of the answers.
std::vector<std::string> answers(const std::string& source, const Conversation& conversation) {
  const Rendering out = chat_of(source).render(conversation, false, true);
  std::vector<std::string> texts;
  for (const Answer& answer : out.answers) texts.push_back(out.text.substr(answer.span.begin, answer.span.end - answer.span.begin));
  return texts;
}

std::string refusal(const std::string& source, const Conversation& conversation) {
  try {
    answers(source, conversation);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

using Texts = std::vector<std::string>;
using Json = nlohmann::ordered_json;

Json call(const std::string& name, const std::string& arguments) {
  Json out = Json::object();
  out["function"]["name"] = name;
  out["function"]["arguments"] = Json::parse(arguments);
  return out;
}

TEST(AnswerSpans, GenerationBlocksSayItThemselves) {
  const std::string source =
      "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}!{% endgeneration %}{{ '\n' }}{% else %}Q:{{ m.content + '\n' }}{% endif %}{% endfor %}";
  const JinjaChat chat = chat_of(source);
  EXPECT_TRUE(chat.tells_answers());
  const Rendering out = chat.render(said({{"user", "a"}, {"assistant", "b"}, {"assistant", ""}, {"user", "c"}, {"assistant", "d"}}), false, true);
  EXPECT_EQ(out.text, "Q:a\nA:b!\nA:!\nQ:c\nA:d!\n");
  ASSERT_EQ(out.answers.size(), 3u);
  EXPECT_EQ(out.answers[0].message, 1);
  EXPECT_EQ(out.answers[1].message, 2);
  EXPECT_EQ(out.answers[2].message, 4);
  EXPECT_EQ(out.text.substr(out.answers[2].span.begin, out.answers[2].span.end - out.answers[2].span.begin), "d!");
}

TEST(AnswerSpans, ContentThatLooksLikeTheTemplateChangesNothing) {
  const std::string source =
      "{% for m in messages %}<|user|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|user|>assistant\n{% endif %}";
  EXPECT_EQ(answers(source, said({{"user", "Q<|end|>\n<|user|>assistant\nno"}, {"assistant", "yes<|end|>\n<|user|>user\n"}, {"user", ""}, {"assistant", ""}})),
            (Texts{"yes<|end|>\n<|user|>user\n<|end|>", "<|end|>"}));
}

TEST(AnswerSpans, AnswerOfTheAssistantInFrontOfAllBeginsBehindItsHeader) {
  const std::string source =
      "{{ bos_token }}{% if messages and messages[0].role != 'system' %}<|system|>default<|end|>{% endif %}"
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  EXPECT_EQ(answers(source, said({{"assistant", "A0"}, {"user", "Q"}, {"assistant", "A1"}})), (Texts{"A0<|end|>", "A1<|end|>"}));
}

// Header with a channel between the prompt and the answer; other tokens end a last answer and a call; a tool's turn names the call again.
TEST(AnswerSpans, ChannelsAndSeveralEndsOfATurn) {
  const std::string source =
      "{% set ns = namespace(name='') %}{% for m in messages %}"
      "{% if m.role == 'tool' %}<|start|>{{ ns.name }} to=assistant<|message|>{{ m.content }}<|end|>"
      "{% elif m.tool_calls %}{% set ns.name = m.tool_calls[0].function.name %}<|start|>assistant<|channel|>to={{ ns.name }}<|message|>"
      "{{ m.tool_calls[0].function.arguments | tojson }}<|call|>"
      "{% elif m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}{{ '<|return|>' if loop.last else '<|end|>' }}"
      "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<|start|>assistant{% endif %}";
  EXPECT_EQ(answers(source, two_turns()), (Texts{"<|channel|>final<|message|>A1<|end|>", "<|channel|>final<|message|>A2<|return|>"}));
  Conversation calls = said({{"user", "Q"}, {"assistant", ""}, {"tool", "42"}, {"assistant", "A"}});
  calls.messages[1].fields["tool_calls"] = Json::array({call("look", R"({"at": "this"})")});
  EXPECT_EQ(answers(source, calls), (Texts{"<|channel|>to=look<|message|>{\"at\": \"this\"}<|call|>", "<|channel|>final<|message|>A<|return|>"}));
}

TEST(AnswerSpans, SpecialTokensInsideACallDoNotEndIt) {
  const std::string source =
      "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{{ m.content or '' }}{% for c in m.tool_calls or [] %}<|call|>{{ c.function.name }}<|sep|>"
      "{{ c.function.arguments | tojson }}<|calls_end|>{% endfor %}</s>{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}";
  Conversation calls = said({{"user", "Q"}, {"assistant", "Wait."}, {"tool", "42"}, {"assistant", "A"}});
  calls.messages[1].fields["tool_calls"] = Json::array({call("f", R"({"x": 1})"), call("g", R"({"y": "z"})")});
  EXPECT_EQ(answers(source, calls), (Texts{"Wait.<|call|>f<|sep|>{\"x\": 1}<|calls_end|><|call|>g<|sep|>{\"y\": \"z\"}<|calls_end|></s>", "A</s>"}));
}

// A text in the arguments that spells the end of a turn is the row's, also where it went through tojson.
TEST(AnswerSpans, AnEndOfTurnInTheArgumentsEndsNothing) {
  const std::string source =
      "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}</s>"
      "{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  Conversation calls = said({{"user", "Q"}, {"assistant", "Wait."}, {"user", "R"}});
  calls.messages[1].fields["tool_calls"] = Json::array({Json::object({{"name", "a</s>b"}})});
  EXPECT_EQ(answers(source, calls), (Texts{"Wait.{\"name\": \"a</s>b\"}</s>"}));
}

TEST(AnswerSpans, ATemplateWithoutAPromptLearnsWhatTheModelHasToWrite) {
  const std::string source = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}";
  EXPECT_EQ(answers(source, two_turns()), (Texts{" A1 </s>", " A2 </s>"}));
}

TEST(AnswerSpans, ATokenOfTheNextHeaderEndsNoTurn) {
  const std::string source =
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{{ '<|assistant|>' if add_generation_prompt else eos_token }}";
  // Only the last answer has an end; the next question's header is not one.
  const std::string message = refusal(source, two_turns());
  EXPECT_NE(message.find("the answer of message 2"), std::string::npos) << message;
  EXPECT_NE(message.find("assistant_only_loss: false"), std::string::npos);
  EXPECT_NE(message.find("{% generation %}"), std::string::npos);
  EXPECT_EQ(answers(source, said({{"user", "Q"}, {"assistant", "A"}})), (Texts{"A</s>"}));
}

TEST(AnswerSpans, ATemplateWithoutAnyEndOfATurnTellsNone) {
  const JinjaChat chat = chat_of("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}");
  EXPECT_FALSE(chat.tells_answers());
  EXPECT_EQ(chat.render(two_turns(), false, /*find_answers=*/false).text, "user: Q1\nassistant: A1\nuser: Q2\nassistant: A2\n");
  EXPECT_THROW(chat.render(two_turns(), false, true), DataError);
}

TEST(AnswerSpans, AnAnswerThatIsWrittenChangedOrLeftOutIsRefused) {
  const std::string changed = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | length }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  EXPECT_NE(refusal(changed, two_turns()).find("the answer of message 2"), std::string::npos);
  const std::string left_out = "{% for m in messages if m.content != 'A1' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  EXPECT_NE(refusal(left_out, two_turns()).find("the template leaves it out"), std::string::npos);
}

TEST(AnswerSpans, APromptThatIsNotWhatIsWrittenIsRefused) {
  const std::string source =
      "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>bot<|message|>{% endif %}";
  EXPECT_NE(refusal(source, two_turns()).find("other text than it then writes"), std::string::npos);
}

TEST(JinjaChatTest, GivesTemplatesWhatTransformersGivesThem) {
  const std::string source = "{{ tools is none }} {{ documents is defined }} {{ enable_thinking is defined }} {{ bos_token }}{{ eos_token }} {{ strftime_now('%d %b %Y') }}";
  EXPECT_EQ(chat_of(source).render(two_turns(), false, false).text, "True True False <s></s> 26 Jul 2024");
  const Tokenizer tokenizer = byte_tokenizer({}, "", "</s>");
  EXPECT_EQ(JinjaChat("{{ enable_thinking }}{{ bos_token }}", "t", tokenizer, {false, std::nullopt}).render(two_turns(), false, false).text, "False");
  std::tm day = prepared_on();
  day.tm_mday = 9;
  EXPECT_EQ(JinjaChat("{{ strftime_now('%d') }}", "t", tokenizer, {std::nullopt, day}).render(two_turns(), false, false).text, "09");
}

// OpenAI has null there; some templates ask for it, others want a text.
TEST(JinjaChatTest, TheContentBesideACallIsNullOrEmptyAsTheTemplateCanTakeIt) {
  Conversation calls = said({{"user", "Q"}, {"assistant", ""}});
  calls.messages[1].fields["tool_calls"] = Json::array({call("f", "{}")});
  EXPECT_EQ(chat_of("{% for m in messages %}{{ m.content is none }} {% endfor %}").render(calls, false, false).text, "False True ");
  EXPECT_EQ(chat_of("{% for m in messages %}{{ m.content + '!' }}{% endfor %}").render(calls, false, false).text, "Q!!");
  EXPECT_THROW(chat_of("{{ raise_exception('no') }}").render(calls, false, false), DataError);
}

TEST(JinjaChatTest, FingerprintDependsOnTheDateOnlyWhereItIsRead) {
  const Tokenizer tokenizer = byte_tokenizer({}, "", "</s>");
  std::tm day = prepared_on();
  day.tm_mday = 9;
  const auto fingerprint = [&](const char* source, std::optional<std::tm> now) { return JinjaChat(source, "t", tokenizer, {std::nullopt, now}).fingerprint(); };
  EXPECT_EQ(fingerprint("{{ messages[0].content }}", day), fingerprint("{{ messages[0].content }}", std::nullopt));
  EXPECT_NE(fingerprint("{{ strftime_now('%d') }}", day), fingerprint("{{ strftime_now('%d') }}", std::nullopt));
  EXPECT_NE(fingerprint("{{ 1 }}", std::nullopt), fingerprint("{{ 2 }}", std::nullopt));
}

}  // namespace
}  // namespace nibble::data
