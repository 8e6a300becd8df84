"""Templates built as those of published models are: the same constructs in the same order, with wording of our own (templates/)."""
import pathlib

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place, in °C", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "Name"}, "days": {"type": "array", "items": {"type": "integer"}},
                                     "unit": {"type": "string", "enum": ["c", "f"]}, "opts": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}}},
    "required": ["city"]}, "return": {"type": "number"}}}
CALL = {"id": "call12345", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": [1, 2]}}}


def user(text):
    return {"role": "user", "content": text}


def answer(text, **more):
    return {"role": "assistant", "content": text, **more}


CONVERSATIONS = {
    "plain": {"messages": [user("Hi"), answer("Hello!"), user(" Bye \n"), answer("See you.")]},
    "system": {"messages": [{"role": "system", "content": "Be kind."}, user("Hi"), answer("Hello!")]},
    "prompt": {"messages": [{"role": "system", "content": "Be kind."}, user("Hi")], "add_generation_prompt": True},
    "tools": {"messages": [user("Weather?"), answer("", tool_calls=[CALL]), {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "21.5"},
                           answer("21.5 degrees"), user("Thanks")], "tools": [TOOL], "add_generation_prompt": True},
    "tools_two_calls": {"messages": [{"role": "system", "content": "S"}, user("W"), answer(None, tool_calls=[CALL, {**CALL, "id": "call67890"}]),
                                     {"role": "tool", "tool_call_id": "call12345", "content": {"t": 1}}, {"role": "tool", "tool_call_id": "call67890", "content": "2"}],
                        "tools": [TOOL, TOOL]},
    "thinking": {"messages": [user("1+1?"), answer("<think>\nadd\n</think>\n\n2"), user("2+2?"), answer("4", reasoning_content="sum", thinking="sum")]},
    "parts": {"messages": [user([{"type": "text", "text": "What is "}, {"type": "image"}, {"type": "text", "text": "this?"}]),
                           answer([{"type": "text", "text": "A cat."}])]},
    "wrong_roles": {"messages": [user("a"), user("b")]},
    "unknown_role": {"messages": [user("a"), {"role": "critic", "content": "b"}]},
    "empty": {"messages": []},
}

FOLDER = pathlib.Path(__file__).parent / "templates"
TEMPLATES = {path.stem: path.read_bytes().decode() for path in sorted(FOLDER.glob("*.jinja"))}
