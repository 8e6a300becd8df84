#!/usr/bin/env python3
"""Goldens of the template language: what transformers' chat template environment makes of many small templates, and of
templates built as those of published models are.

    .deps/peer/bin/python scripts/golden/make_jinja.py tests/golden

Writes chat/jinja_language.json, chat/jinja_published.json and MANIFEST_jinja.json. strftime_now tells a fixed time. Needs
transformers and jinja2 (scripts/setup.sh --peer). ASCII with \\u escapes, so that no checkout can change a text.
"""
import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils as utils

from jinja_parts import filters, language, published, statements

NOW = datetime.datetime(2025, 3, 7, 9, 5, 2)
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def rendering(template, variables):
    """{"output", "generation"} or {"error"}; generation: spans in bytes of UTF-8."""
    utils.datetime = Clock
    try:
        compiled = utils._cached_compile_jinja_template(template)
        blocks, spans = [], []
        with compiled.environment.activate_tracker(blocks, spans):
            for block in compiled.generate(**variables):
                blocks.append(block)
        text = "".join(blocks)
    except RecursionError:
        raise
    except Exception as error:  # jinja2's, and Python's own TypeError, OverflowError, ...
        return {"error": f"{type(error).__name__}: {error}"}
    out = {"output": text}
    if spans:
        out["generation"] = [[len(text[:i].encode()) for i in span] for span in spans]
    return out


def language_cases():
    for group, cases in {**language.CASES, **statements.CASES, **filters.CASES}.items():
        for case in cases:
            template, variables = case if isinstance(case, tuple) else (case, {})
            yield {"group": group, "template": template, "variables": variables, **rendering(template, variables)}


def published_cases():
    for name, template in published.TEMPLATES.items():
        renderings = {}
        for conversation, variables in published.CONVERSATIONS.items():
            given = {"tools": None, "documents": None, "add_generation_prompt": False, **SPECIAL_TOKENS, **variables}
            renderings[conversation] = rendering(template, given)
        yield name, {"template": template, "renderings": renderings}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    files = {
        "chat/jinja_language.json": {"what": "Templates and what jinja2 renders, as transformers sets it up; error: it refuses", "now": list(NOW.timetuple())[:6],
                                     "cases": list(language_cases())},
        "chat/jinja_published.json": {"what": "Templates built as those of published models are, over the same conversations; variables as apply_chat_template gives them",
                                      "now": list(NOW.timetuple())[:6], "special_tokens": SPECIAL_TOKENS, "conversations": published.CONVERSATIONS,
                                      "templates": dict(published_cases())},
    }
    manifest = {"made_by": "scripts/golden/make_jinja.py", "versions": {"python": sys.version.split()[0], "jinja2": jinja2.__version__,
                                                                        "transformers": transformers.__version__}, "files": {}}
    for name, content in files.items():
        data = (json.dumps(content, ensure_ascii=True, indent=1) + "\n").encode()
        (folder / name).write_bytes(data)
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "holds": content["what"]}
    (folder / "MANIFEST_jinja.json").write_text(json.dumps(manifest, indent=1) + "\n")
    cases = files["chat/jinja_language.json"]["cases"]
    print(f"{len(cases)} small templates, {sum('error' in c for c in cases)} of them refused; {len(published.TEMPLATES)} published forms")


if __name__ == "__main__":
    main()
