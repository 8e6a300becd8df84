#!/usr/bin/env python3
"""The binary's own description of its configuration is what the project ships.

docs/config.md is what `nibble config docs` prints, configs/schema.json what `nibble config schema` prints, every
configs/*.yaml passes `nibble config check`, names the schema for editors, and there are as many as the last argument says.

    check_config_docs.py ROOT NIBBLE COUNT
"""
import difflib
import pathlib
import subprocess
import sys

SCHEMA_LINE = "# yaml-language-server: $schema=schema.json"


def run(binary, *arguments):
    return subprocess.run([binary, "config", *arguments], capture_output=True, text=True)


def differences(root, binary, what, name):
    """What a person sees who has to write the file again."""
    printed = run(binary, what)
    if printed.returncode != 0:
        return [f"nibble config {what} ended with {printed.returncode}: {printed.stderr.strip()}"]
    path = root / name
    shipped = path.read_text(encoding="utf-8") if path.is_file() else ""
    if shipped == printed.stdout:
        return []
    lines = difflib.unified_diff(shipped.splitlines(), printed.stdout.splitlines(), name, "binary", lineterm="", n=0)
    return [f"{name} is not what the binary prints; run: nibble config {what} > {name}", *list(lines)[:20]]


def config_findings(binary, path):
    if path.read_text(encoding="utf-8").splitlines()[:1] != [SCHEMA_LINE]:
        yield f"{path.name}:1: the first line must be '{SCHEMA_LINE}'"
    checked = run(binary, "check", str(path))
    if checked.returncode != 0:
        yield f"{path.name}: nibble config check ended with {checked.returncode}: {checked.stderr.strip()}"
    elif checked.stderr.strip():
        yield f"{path.name}: shipped configurations use the canonical names: {checked.stderr.strip()}"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    root, binary, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    findings = differences(root, binary, "docs", "docs/config.md")
    findings += differences(root, binary, "schema", "configs/schema.json")
    configs = sorted((root / "configs").glob("*.yaml"))
    if len(configs) != count:
        findings.append(f"configs/ has {len(configs)} YAML files, tests/meta/config_docs.cmake says {count}")
    for path in configs:
        findings += config_findings(binary, path)
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(1)
    print(f"docs/config.md, configs/schema.json and {len(configs)} configurations are what the binary says")


if __name__ == "__main__":
    main()
