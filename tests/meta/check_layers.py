#!/usr/bin/env python3
"""Includes obey the layer table of docs/architecture.md: which folder may include which, and which libraries.

The table is the rule: its rows are read here, so that the page cannot drift from what is enforced. Third-party
names are found by the first part of an include path (yaml-cpp/, ATen/, ...), listed in LIBRARIES.
"""
import fnmatch
import re

from project import LAYER_FOLDERS, finish, line_of, project_from_arguments, without_comments

PAGE = "docs/architecture.md"

# include prefix -> the library's name as the table writes it
LIBRARIES = [
    (r"fmt/", "fmt"), (r"xxhash\.h", "xxhash"), (r"yaml-cpp/", "yaml-cpp"), (r"nlohmann/", "nlohmann-json"),
    (r"CLI/", "CLI11"), (r"sentencepiece", "sentencepiece"), (r"pcre2", "PCRE2"),
    (r"zlib\.h", "zlib"), (r"zstd(_errors)?\.h", "zstd"), (r"(arrow|parquet)/", "Arrow"),
    (r"(ATen|c10|torch)/", "LibTorch"), (r"cuda|cooperative_groups|cub/", "CUDA"),
]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def layer_table(text):
    """{folder: (set of folders it may include, set of libraries, libraries that only a .cpp may see)}"""
    rows = {}
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) != 5 or not cells[0].isdigit():
            continue
        folder = cells[1].strip("`")
        allowed = set() if cells[3] == "-" else set(re.findall(r"\w+", cells[3]))
        if "all" in allowed:
            allowed = set(LAYER_FOLDERS)
        libraries = {name for _, name in LIBRARIES if name.lower() in cells[4].lower()}
        private = {name for _, name in LIBRARIES if re.search(re.escape(name) + r"\*", cells[4], re.I)}
        rows[folder] = (allowed, libraries, private)
    return rows


def torch_free_globs(text):
    """The file patterns of the sentence "No LibTorch in: `a`, `b`."."""
    sentence = re.search(r"No LibTorch in:((?:\s*`[^`]+`,?)+)", text)
    return re.findall(r"`([^`]+)`", sentence.group(1)) if sentence else []


def check_file(project, name, rows, torch_free):
    folder = name.split("/")[0]
    allowed, libraries, private = rows[folder]
    no_torch = any(fnmatch.fnmatch(name, glob) for glob in torch_free)
    text = project.read(name)
    code = without_comments(text)
    for match in INCLUDE.finditer(code):
        place = f"{name}:{line_of(code, match.start())}"
        path = match.group(2)
        other = path.split("/")[0]
        if other in LAYER_FOLDERS and "/" in path:
            if other != folder and other not in allowed:
                yield f"{place}: layer '{folder}' may not include layer '{other}' ({path}); see {PAGE}"
            if no_torch and other == "tensor":
                yield f"{place}: below the launch line there is no LibTorch ({path}); see {PAGE}"
            continue
        if match.group(1) == '"' and "/" not in path:
            yield f"{place}: own headers are included by their path from the root, not as \"{path}\""
        for pattern, library in LIBRARIES:
            if not re.match(pattern, path):
                continue
            if library not in libraries:
                yield f"{place}: layer '{folder}' may not see {library} ({path}); see {PAGE}"
            elif library in private and not name.endswith(".cpp"):
                yield f"{place}: {library} belongs in a .cpp of '{folder}', not in a header ({path})"
            if library == "LibTorch" and no_torch:
                yield f"{place}: below the launch line there is no LibTorch ({path}); see {PAGE}"


def main():
    project = project_from_arguments()
    page = project.read(PAGE)
    rows, torch_free = layer_table(page), torch_free_globs(page)
    findings = [f"{PAGE}: no row for layer '{f}'" for f in LAYER_FOLDERS if f not in rows]
    if not torch_free:
        findings.append(f"{PAGE}: the list after 'No LibTorch in:' is missing")
    sources = project.sources()
    if not findings:
        for name in sources:
            findings += check_file(project, name, rows, torch_free)
    finish(findings, f"{len(sources)} files obey the layers")


if __name__ == "__main__":
    main()
