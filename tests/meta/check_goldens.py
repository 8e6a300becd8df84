#!/usr/bin/env python3
"""Golden files are what their manifest says, all listed, all used.

tests/golden/MANIFEST_*.json list each file with size and SHA-256 (and by which libraries it was made). Used means: a
test's source names the file, or a folder above it, or builds the name from parts (then the file's own name or its
folder's name stands in a string literal, or the name's ending, "_cases.json").
"""
import hashlib
import json
import re

from project import finish, project_from_arguments

FOLDER = "tests/golden/"


def listed_files(manifest):
    """{path: sha256 or None} from a manifest: its "files" as a mapping or as a list of objects."""
    files = manifest["files"]
    if isinstance(files, dict):
        files = [dict(entry, path=path) for path, entry in files.items()]
    return {e.get("path") or e["file"]: e["sha256"] for e in files}


def literals_of_tests(project):
    text = []
    for name in project.files:
        if name.startswith("tests/") and name.endswith((".cpp", ".h", ".py", ".cmake")) and "meta/" not in name:
            text += re.findall(r'"((?:\\.|[^"\\\n])*)"', project.read(name))
    return text


def is_used(path, literals):
    parts = path.split("/")
    names = {path, parts[-1], parts[-1].split(".")[0]} | {"/".join(parts[:i]) for i in range(1, len(parts))}
    names |= set(parts[:-1]) - {"models", "data", "lora"}
    if any(l.startswith("_") and "." in l and path.endswith(l) for l in literals):
        return True
    return any(n and (n == l.strip("/") or f"/{n}" in f"/{l}") for n in names for l in literals)


def main():
    project = project_from_arguments()
    findings, listed = [], {}
    manifests = [n for n in project.files if re.fullmatch(FOLDER + r"MANIFEST_\w+\.json", n)]
    for name in manifests:
        for path, digest in listed_files(json.loads(project.read(name))).items():
            listed[path] = (digest, name)
    present = [n[len(FOLDER):] for n in project.files
               if n.startswith(FOLDER) and n not in manifests and n != FOLDER + "README.md"]
    literals = literals_of_tests(project)
    for path in present:
        if path not in listed:
            findings.append(f"{FOLDER}{path}: in no manifest")
            continue
        digest = hashlib.sha256((project.root / FOLDER / path).read_bytes()).hexdigest()
        if digest != listed[path][0]:
            findings.append(f"{FOLDER}{path}: sha256 {digest[:12]}..., but {listed[path][1]} says {listed[path][0][:12]}...")
        if not is_used(path, literals):
            findings.append(f"{FOLDER}{path}: no test reads it")
    findings += [f"{name}: lists {path}, which is not there" for path, (_, name) in listed.items() if path not in present]
    finish(findings, f"{len(present)} golden files as {len(manifests)} manifests list them")


if __name__ == "__main__":
    main()
