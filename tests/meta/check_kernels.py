#!/usr/bin/env python3
"""Every CUDA kernel stays within its budget of registers, spilled bytes and shared memory, on every architecture.

    check_kernels.py BUDGET.json "75;80;..." LOG...

The logs are nvcc's output with -Xptxas -v. The budget maps a kernel, "dequantize_kernel<true, bf16>", to the most that it
may use. A kernel without an entry, an entry without a kernel, and a kernel that is missing for an architecture are findings
too. A kernel that grew on purpose gets a new number in the same commit.
"""
import json
import re
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)\w?'(.*?)(?=Compiling entry function|\Z)", re.S)
ARGUMENTS = [("Lb0E", "false"), ("Lb1E", "true"), ("13__nv_bfloat16", "bf16"), ("6__half", "half"), ("f", "float")]


def readable(mangled):
    """dequantize_kernel<true, bf16> from its mangled name; the mangled name where it has another form."""
    # A mangled name is its length and its letters. What precedes it, a file's hash, may by chance look the same: the last one
    # counts. A template's arguments follow, and its result type, v; a plain function's name ends with E.
    pattern = r"(?=(\d{1,2})([a-z]\w*?_kernel)(?:(?:I(\w*?)E)?Ev|E))"
    matches = [m for m in re.finditer(pattern, mangled) if int(m.group(1)) == len(m.group(2))]
    if not matches:
        return mangled
    match = matches[-1]
    name, rest, arguments = match.group(2), match.group(3) or "", []
    while rest:
        for code, text in ARGUMENTS:
            if rest.startswith(code):
                arguments.append(text)
                rest = rest[len(code):]
                break
        else:
            return mangled
    return f"{name}<{', '.join(arguments)}>" if arguments else name


def number(pattern, text):
    match = re.search(pattern, text)
    return int(match.group(1)) if match else 0


def measured(logs):
    """{kernel: {architecture: {what: number}}}"""
    kernels = {}
    for log in logs:
        with open(log, encoding="utf-8") as file:
            text = file.read()
        for mangled, architecture, said in ENTRY.findall(text):
            kernels.setdefault(readable(mangled), {})[architecture] = {
                "registers": number(r"Used (\d+) registers", said),
                "spill_bytes": number(r"(\d+) bytes spill stores", said) + number(r"(\d+) bytes spill loads", said),
                "shared_bytes": number(r"(\d+) bytes smem", said),
            }
    return kernels


def findings(budget, architectures, kernels):
    for kernel in sorted(set(budget) - set(kernels)):
        yield f"{kernel}: in the budget, but no kernel of that name was built"
    for kernel, per_architecture in sorted(kernels.items()):
        if kernel not in budget:
            yield f"{kernel}: not in the budget; it uses {per_architecture}"
            continue
        for architecture in architectures:
            if architecture not in per_architecture:
                yield f"{kernel}: not built for sm_{architecture}"
        for architecture, used in per_architecture.items():
            for what, limit in budget[kernel].items():
                if used[what] > limit:
                    yield f"{kernel} on sm_{architecture}: {what} = {used[what]}, budget {limit}"


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        budget = json.load(file)
    kernels = measured(sys.argv[3:])
    found = list(findings(budget, sys.argv[2].split(";"), kernels))
    for line in found:
        print(line)
    if found or not kernels:
        sys.exit(f"{len(found)} finding(s) in {len(kernels)} kernels")
    print(f"{len(kernels)} kernels within their budget")


if __name__ == "__main__":
    main()
