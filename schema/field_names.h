// The names that a data file has for what its rows hold, where they are not the usual ones of its schema (docs/data.md).
#pragma once

#include <string>

namespace nibble {

// "": the usual name.
struct FieldNames {
  std::string text;
  std::string messages;                          // the list of a conversation
  std::string role, content, train;              // of a message
  std::string prompt, completion;
  std::string instruction, input, output, history;
  std::string system;                            // a system text beside a conversation or an instruction
  std::string tools;
  // Roles that the file calls by a name of its own, beside the names that are known anyway.
  std::string user_role, assistant_role, system_role, tool_role;

  // Calls visit(configuration key, name, one sentence) for every name: the configuration, its documents and what
  // identifies a prepared dataset are visitors.
  template <class Names, class Visitor>
  static void describe(Names& n, Visitor&& visit) {
    visit("dataset_text_field", n.text, "the field of text rows; empty: text");
    visit("dataset_messages_field", n.messages, "the field with a conversation's list of messages; empty: messages or conversations");
    visit("dataset_role_field", n.role, "the field of a message that says who speaks; empty: role, in ShareGPT from");
    visit("dataset_content_field", n.content, "the field of a message with its text; empty: content, in ShareGPT value");
    visit("dataset_train_field", n.train, "the field of a message that says, true or false, whether an answer is trained on; empty: train");
    visit("dataset_prompt_field", n.prompt, "the field of prompt-completion rows that is not trained on; empty: prompt");
    visit("dataset_completion_field", n.completion, "the field of prompt-completion rows that is trained on; empty: completion");
    visit("dataset_instruction_field", n.instruction, "the question of alpaca rows; empty: instruction");
    visit("dataset_input_field", n.input, "what alpaca rows have beside the question; empty: input");
    visit("dataset_output_field", n.output, "the answer of alpaca rows; empty: output");
    visit("dataset_history_field", n.history, "earlier turns of alpaca rows, a list of [question, answer]; empty: history");
    visit("dataset_system_field", n.system, "a system text beside a conversation or a question; empty: system");
    visit("dataset_tools_field", n.tools, "the tools of a conversation, a list or its JSON text; empty: tools");
    visit("dataset_user_role", n.user_role, "what the files call the user, beside user and human");
    visit("dataset_assistant_role", n.assistant_role, "what the files call the assistant, beside assistant, gpt and model");
    visit("dataset_system_role", n.system_role, "what the files call system messages, beside system and developer");
    visit("dataset_tool_role", n.tool_role, "what the files call results of tools, beside tool, observation and function");
  }
};

}  // namespace nibble
