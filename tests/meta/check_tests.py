#!/usr/bin/env python3
"""Every unit has a test, and every test runs and asserts something.

A unit is a .cpp of a layer folder. Its test is any tests/**/*_test.cpp that includes the unit's header (itself or through
a header of tests/) or, where it is reached through another's interface, names it in its header comment ("Units: data/bpe"). A backend (x_cpu.cpp, x_avx512.cpp) counts with x, and a .cpp without a
header of its own with the unit whose name its own continues (nfc_combining with nfc). trainer/main.cpp and cmd_*.cpp are
tested by running the binary: a test or an end-to-end script names the verb.
"""
import re

from project import finish, line_of, project_from_arguments, without_comments

BACKEND = re.compile(r"_(cpu|cuda|launch|avx512|avx2|scalar|simd)$")
TEST_MACRO = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.M)
ASSERTION = re.compile(r"\b(EXPECT_|ASSERT_|ADD_FAILURE|FAIL\s*\(|expect_|check_|assert_|require_)")


def test_bodies(code):
    """(suite, name, offset, text up to the next test) of every test in a file."""
    matches = list(TEST_MACRO.finditer(code))
    for match, following in zip(matches, matches[1:] + [None]):
        yield match.group(1), match.group(2), match.start(), code[match.end():following.start() if following else None]


def names_of_unit(project, folder, stem):
    """The stems under which a .cpp may be tested, itself first."""
    names = [stem]
    while f"{folder}/{names[-1]}.h" not in project.files and "_" in names[-1]:
        names.append(names[-1].rsplit("_", 1)[0])
    if BACKEND.search(names[-1]):
        names.append(BACKEND.sub("", names[-1]))
    return names


def is_run_as_program(stem, tests, scripts):
    if stem == "main":
        return "NIBBLE_BINARY" in tests
    verb = re.escape(stem[len("cmd_"):].replace("_", "-"))
    return stem.startswith("cmd_") and bool(re.search(rf"[\"' ]{verb}[\"' ]", tests) or
                                            re.search(rf"[\"' ]{verb}[\"' ]", scripts))


def untested_units(project, test_names):
    support = [n for n in project.files if n.startswith("tests/") and n.endswith(".h")]
    tests = "\n".join(project.read(n) for n in test_names + support)
    scripts = "\n".join(project.read(n) for n in project.files if n.startswith("tests/e2e/") and n.endswith(".py"))
    for name in project.sources(endings=(".cpp",)):
        folder, stem = name[:-len(".cpp")].rsplit("/", 1)
        if any(re.search(rf"\b{folder}/{n}\b(?!_)", tests) for n in names_of_unit(project, folder, stem)):
            continue
        if folder == "trainer" and is_run_as_program(stem, tests, scripts):
            continue
        yield f"{name}: no test includes \"{folder}/{stem}.h\" or names {folder}/{stem}"


def broken_tests(project, name):
    text = project.read(name)
    code = without_comments(text)
    for match in re.finditer(r"\bDISABLED_\w+", code):
        yield f"{name}:{line_of(code, match.start())}: disabled test {match.group(0)}"
    for match in re.finditer(r"\bGTEST_SKIP\b", code):
        # A skip is allowed where the machine lacks a device, and there NIBBLE_REQUIRE_GPU turns it into a failure.
        if "NIBBLE_REQUIRE_GPU" not in code:
            yield f"{name}:{line_of(code, match.start())}: GTEST_SKIP without NIBBLE_REQUIRE_GPU"
    for suite, test, offset, body in test_bodies(code):
        if not ASSERTION.search(body):
            yield f"{name}:{line_of(code, offset)}: {suite}.{test} asserts nothing"
    if name.endswith("_test.cpp") and not TEST_MACRO.search(code):
        yield f"{name}: holds no test"


def main():
    project = project_from_arguments()
    tests = [n for n in project.files if n.startswith("tests/") and n.endswith("_test.cpp")]
    findings = [] if tests else ["no test files found below tests/"]
    for name in tests:
        findings += broken_tests(project, name)
    findings += untested_units(project, tests)
    finish(findings, f"{len(tests)} test files; every unit has one")


if __name__ == "__main__":
    main()
