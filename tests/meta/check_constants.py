#!/usr/bin/env python3
"""Tables that must not exist twice: each stands in exactly one production file.

A copy of a codebook drifts unseen: both halves of a program then agree with their own tests and not with each other.
"""
import re

from project import finish, line_of, project_from_arguments, without_comments

# name -> a number that only this table holds, as digits (any suffix or exponent form is a copy too)
TABLES = {
    "NF4 codebook": "6961928009986877",
    "NF4 threshold": "0397901497781276",
}


def main():
    project = project_from_arguments()
    findings, places = [], {}
    for name in project.sources():
        code = without_comments(project.read(name))
        for table, digits in TABLES.items():
            for match in re.finditer(digits[:9], code):
                places.setdefault(table, []).append(f"{name}:{line_of(code, match.start())}")
    # The positive and the negative half of the codebook do not mirror each other, so one literal is one table.
    for table, found in places.items():
        if len({place.rsplit(":", 1)[0] for place in found}) > 1 or len(found) > 1:
            findings.append(f"{table}: {len(found)} copies: {', '.join(found)}")
    if "NF4 codebook" not in places:
        findings.append("NF4 codebook: not found in any production file")
    finish(findings, f"{len(places)} tables, each in one place")


if __name__ == "__main__":
    main()
