#!/usr/bin/env python3
"""The meta checks find what they are for: each is run on a small project that breaks its rule, and on one that keeps it."""
import json
import pathlib
import subprocess
import sys
import tempfile

PAGE = """| layer | folder | responsibility | may include | third party |
|---|---|---|---|---|
| 0 | `core` | . | - | fmt, xxhash* |
| 1 | `schema` | . | core | fmt |
| 1 | `gpu` | . | core | CUDA |
| 1 | `tensor` | . | core | LibTorch |
| 2 | `data` | . | core, schema | fmt |
| 2 | `quant` | . | core, tensor | LibTorch |
| 3 | `optim` | . | core, quant | LibTorch |
| 3 | `nn` | . | core, quant | LibTorch |
| 4 | `io` | . | core, nn | LibTorch |
| 5 | `trainer` | . | all | LibTorch |

No LibTorch in: `*/*_cpu.cpp`.

## Long files
"""
SOUND = {
    "docs/architecture.md": PAGE,
    "core/a.h": "#include <fmt/format.h>\n",
    "core/a.cpp": '#include "core/a.h"\nfloat nf4[] = {-0.6961928009986877f};\n',
    "tests/core/a_test.cpp": '#include "core/a.h"\nTEST(A, IsTrue) {\n  EXPECT_TRUE(true);\n}\nauto g = "x/b.json";\n',
    "tests/golden/x/b.json": "1\n",
    "tests/golden/MANIFEST_x.json": json.dumps({"files": {"x/b.json": {
        "sha256": "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"}}}),
}

# check -> [(what the broken project has on top, words that the finding must have)]
BROKEN = {
    "layers": [
        ({"core/b.h": '#include "schema/x.h"\n'}, "core/b.h:1: layer 'core' may not include layer 'schema'"),
        ({"data/b.cpp": "\n#include <ATen/ATen.h>\n"}, "data/b.cpp:2: layer 'data' may not see LibTorch"),
        ({"core/b.h": "#include <xxhash.h>\n"}, "xxhash belongs in a .cpp"),
        ({"nn/b_cpu.cpp": "#include <ATen/ATen.h>\n"}, "below the launch line"),
        ({"core/b.h": '#include "a.h"\n'}, "by their path from the root"),
    ],
    "tests": [
        ({"core/b.cpp": "int b;\n"}, "core/b.cpp: no test"),
        ({"tests/core/b_test.cpp": "TEST(B, DISABLED_Fact) { EXPECT_TRUE(true); }\n"}, "disabled test"),
        ({"tests/core/b_test.cpp": "TEST(B, Fact) { GTEST_SKIP(); EXPECT_TRUE(true); }\n"}, "GTEST_SKIP"),
        ({"tests/core/b_test.cpp": "TEST(B, Fact) { int x = 1; (void)x; }\n"}, "B.Fact asserts nothing"),
    ],
    "constants": [
        ({"nn/c.cpp": "float copy = -0.69619280099868f;\n"}, "2 copies"),
        ({"core/a.cpp": '#include "core/a.h"\n'}, "not found"),
    ],
    "goldens": [
        ({"tests/golden/x/c.json": "2\n"}, "in no manifest"),
        ({"tests/golden/x/b.json": "3\n"}, "sha256"),
        ({"tests/core/a_test.cpp": "TEST(A, IsTrue) { EXPECT_TRUE(true); }\n"}, "no test reads it"),
    ],
    "sizes": [
        ({"core/b.cpp": "\n" * 401}, "core/b.cpp: 401 lines"),
        ({f"core/b{i}.cpp": "\n" * 200 for i in range(5)}, "the median production file"),
        ({"docs/architecture.md": PAGE + "- `core/a.h`: is short\n"}, "no longer long"),
    ],
}


def run(check, files):
    """The exit code and output of a check on a project made of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        script = pathlib.Path(__file__).with_name(f"check_{check}.py")
        done = subprocess.run([sys.executable, str(script), folder], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def main():
    failures, cases = [], 0
    for check, broken in BROKEN.items():
        code, output = run(check, SOUND)
        if code != 0:
            failures.append(f"{check} refuses a sound project:\n{output}")
        for changes, words in broken:
            cases += 1
            code, output = run(check, {**SOUND, **changes})
            if code != 1 or words not in output:
                failures.append(f"{check} on {list(changes)}: exit {code}, expected 1 and '{words}' in:\n{output}")
    print("\n".join(failures) or f"{cases} broken projects found out")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
