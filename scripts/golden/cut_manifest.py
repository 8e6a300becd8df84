#!/usr/bin/env python3
"""Cuts a full golden manifest down to the files that tests/golden holds.

    scripts/golden/cut_manifest.py FULL_MANIFEST.json tests/golden/MANIFEST_numeric.json

Library versions, generator and notes stay; of the entries only those whose file is present, each compared with its hash.
"""
import hashlib
import json
import pathlib
import sys

KEPT = ("seed", "made_by", "generator", "versions", "device", "inputs")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    full = json.loads(pathlib.Path(sys.argv[1]).read_text())
    out = pathlib.Path(sys.argv[2])
    files = {}
    for name, entry in sorted(full["files"].items()):
        path = out.parent / name
        if not path.is_file():
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != entry["sha256"]:
            sys.exit(f"{path}: sha256 is {digest}, the manifest says {entry['sha256']}: copy the file again")
        files[name] = entry
    cut = {key: full[key] for key in KEPT if key in full}
    cut["files"] = files
    out.write_text(json.dumps(cut, indent=1, ensure_ascii=True) + "\n")
    print(f"{out}: {len(files)} of {len(full['files'])} files")


if __name__ == "__main__":
    main()
