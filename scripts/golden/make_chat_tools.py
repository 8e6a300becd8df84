#!/usr/bin/env python3
"""Conversations with tools, rendered by transformers through the templates of tests/golden/chat/templates.json.

    .deps/peer/bin/python scripts/golden/make_chat_tools.py

Writes tests/golden/chat/tools.json and its manifest. The spans of the answers are found in the finished text by the template's header
and end of turn, which is right here because no content has either in it; nibble finds them in another way.
"""
import hashlib
import json
import pathlib
import re

import jinja2
import transformers
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests/golden"

# name -> pattern of the text in front of an answer, end of turn
ANSWERS = {
    "qwen2.5": (r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "qwen3": (r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "llama3.1": (r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n", "<|eot_id|>"),
    "mistral_v3": (r"(?:\[/INST\]|\[/TOOL_RESULTS\])", "</s>"),
    "mistral_v3_tekken": (r"(?:\[/INST\]|\[/TOOL_RESULTS\])", "</s>"),
}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a place — now.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "where"}, "days": {"type": "integer"}}, "required": ["city"]}}}
CLOCK = {"type": "function", "function": {"name": "get_time", "description": "What time it is", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, identity="abcdefghi"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls, content=None, **more):
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def said(role, content):
    return {"role": role, "content": content}


def result(content, identity="abcdefghi"):
    return {"role": "tool", "content": content, "tool_call_id": identity, "name": "get_weather"}


BERLIN = call("get_weather", {"city": "Berlin", "days": 2})
CONVERSATIONS = {
    "one_call": ([WEATHER], [said("user", "Weather in Berlin?"), calling(BERLIN), result('{"sky": "grey"}'), said("assistant", "It is grey.")], False),
    "call_is_last": ([WEATHER], [said("user", "Weather in Berlin?"), calling(BERLIN)], False),
    "empty_content": ([WEATHER], [said("user", "Weather in Berlin?"), calling(BERLIN, content=""), result("grey"), said("assistant", "It is grey.")], False),
    "content_beside_the_call": ([WEATHER], [said("user", "Weather?"), calling(BERLIN, content="Let me look."), result("grey"), said("assistant", "Grey.")], False),
    "prompt_behind_a_result": ([WEATHER], [said("user", "Weather?"), calling(BERLIN), result("grey")], True),
    "two_calls": ([WEATHER, CLOCK], [said("user", "Weather and time?"), calling(BERLIN, call("get_time", {}, "ABCDEFGH1")), result("grey"),
                                     result("noon", "ABCDEFGH1"), said("assistant", "Grey, at noon.")], False),
    "call_after_an_answer": ([WEATHER], [said("user", "Hi"), said("assistant", "Hello!"), said("user", "Weather?"), calling(BERLIN), result("grey"),
                                         said("assistant", "Grey."), said("user", "Thanks"), said("assistant", "Any time.")], False),
    "system_and_tools": ([WEATHER, CLOCK], [said("system", "Be brief."), said("user", "Weather?"), calling(BERLIN), result("grey"), said("assistant", "Grey.")], False),
    "tools_not_used": ([WEATHER], [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello!")], False),
    "no_arguments": ([CLOCK], [said("user", "Time?"), calling(call("get_time", {})), result("noon"), said("assistant", "Noon.")], False),
    "unicode_arguments": ([WEATHER], [said("user", "天气?"), calling(call("get_weather", {"city": "北京 \"Peking\"\n", "days": 1})), result("灰"), said("assistant", "灰色。")], False),
    "reasoning_beside_a_call": ([WEATHER], [said("user", "Weather?"), calling(BERLIN, reasoning_content="I should look it up."), result("grey"),
                                            dict(said("assistant", "Grey."), reasoning_content="It said grey.")], False),
}


def render(template, golden, tools, messages, prompt):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()), bos_token=golden["bos_token"] or None, eos_token=golden["eos_token"])
    tokenizer.chat_template = template
    return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=prompt)


def entry_of(name, golden, tools, messages, prompt):
    entry = {"tools": tools, "messages": messages, "add_generation_prompt": prompt}
    try:
        text = render(golden["template"], golden, tools, messages, prompt)
    except Exception as error:  # raise_exception of the template, or an operation that it cannot do
        entry["error"] = f"{type(error).__name__}: {error}"
        return entry
    before, end = ANSWERS[name]
    spans = [m.span(1) for m in re.finditer(f"{before}((?:(?!{before}).)*?{re.escape(end)})", text, re.S)]
    assert len(spans) == sum(m["role"] == "assistant" for m in messages), (name, text)
    entry["rendered"] = text
    entry["answer_spans_utf8"] = [[len(text[:i].encode()) for i in span] for span in spans]
    return entry


def main():
    templates = json.loads((GOLDEN / "chat/templates.json").read_text())["templates"]
    out = {name: {key: entry_of(name, templates[name], *conversation) for key, conversation in CONVERSATIONS.items()} for name in ANSWERS}
    path = GOLDEN / "chat/tools.json"
    path.write_text(json.dumps({"what": "Conversations with tools as transformers renders them, and the bytes of the answers", "templates": out},
                               indent=1, ensure_ascii=True) + "\n")
    data = path.read_bytes()
    manifest = {"generator": "scripts/golden/make_chat_tools.py", "versions": {"transformers": transformers.__version__, "jinja2": jinja2.__version__},
                "files": {"chat/tools.json": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}}
    (GOLDEN / "MANIFEST_chat_tools.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{path}: {sum('rendered' in e for t in out.values() for e in t.values())} rendered, {sum('error' in e for t in out.values() for e in t.values())} refused")


if __name__ == "__main__":
    main()
