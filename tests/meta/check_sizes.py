#!/usr/bin/env python3
"""Files stay small enough to read at one sitting: median at most 150 lines, none above 400.

A longer file needs its reason in docs/architecture.md, section "Long files": "- `path`: reason".
"""
import re
import statistics

from project import LAYER_FOLDERS, finish, project_from_arguments

MEDIAN_LINES = 150
MOST_LINES = 400


def main():
    project = project_from_arguments()
    page = project.read("docs/architecture.md")
    section = page.partition("## Long files")[2].partition("\n## ")[0]
    excused = dict(re.findall(r"^- `([^`]+)`: (\S.*)$", section, re.M))
    names = project.sources() + [n for n in project.files if n.startswith(("tests/", "bench/", "scripts/"))
                                 and n.endswith((".h", ".cpp", ".py", ".sh", ".cmake"))]
    lines = {n: project.read(n).count("\n") for n in names}
    findings = [f"{n}: {count} lines, more than {MOST_LINES} (split it, or give a reason under 'Long files')"
                for n, count in lines.items() if count > MOST_LINES and n not in excused]
    findings += [f"docs/architecture.md: long file `{n}` does not exist or is no longer long"
                 for n in excused if lines.get(n, 0) <= MOST_LINES]
    production = [count for n, count in lines.items() if n.split("/")[0] in LAYER_FOLDERS]
    median = statistics.median(production) if production else 0
    if median > MEDIAN_LINES:
        findings.append(f"the median production file has {median} lines, more than {MEDIAN_LINES}")
    finish(findings, f"{len(lines)} files, median of production {median:.0f} lines, longest {max(lines.values())}")


if __name__ == "__main__":
    main()
