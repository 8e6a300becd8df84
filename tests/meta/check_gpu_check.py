#!/usr/bin/env python3
"""scripts/gpu_check.py on machines that it is not run on: a build folder whose programs are scripts that act as on a GPU.

    check_gpu_check.py ROOT
"""
import json
import pathlib
import subprocess
import sys
import tempfile

NIBBLE = """#!/bin/sh
if [ "$1" = doctor ]; then echo "@GPU@"; exit 0; fi
loss=2.0
for setting in "$@"; do
  case "$setting" in
    output_dir=*) out=${setting#output_dir=} ;;
    device=cuda) loss=@LOSS@ ;;
    cuda_graphs=true) graphs=@GRAPHS@ ;;
    max_steps=*) steps=${setting#max_steps=} ;;
  esac
done
mkdir -p "$out"
i=0
while [ $i -lt $steps ]; do i=$((i + 1)); echo "{\\"step\\": $i, \\"loss\\": $loss, \\"cuda_graphs_replayed\\": ${graphs:-0}}"; done > "$out/metrics.jsonl"
echo '{"peak_gpu_mib": 1.0, "tokens_per_s": 2.0}'
"""
TESTS = """#!/bin/sh
for argument in "$@"; do case "$argument" in --gtest_output=json:*) report=${argument#--gtest_output=json:};; esac; done
echo '{"tests": 1, "testsuites": [{"testsuite": [{"classname": "A", "name": "B", "result": "%s"}]}]}' > "${report:-/dev/null}"
"""
BENCH = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --json ] && echo '{"copy_gb_per_s": 1}' > "$2"; shift; done
"""
BALLAST = """#!/bin/sh
while [ "$1" != -- ]; do [ "$1" = --json ] && echo '{"free_bytes": 1}' > "$2"; shift; done; shift; exec "$@"
"""


def make_build(folder, gpu="GPU 1 GPU(s); 0: Card, compute capability 9.0, 10.0 of 10.0 GiB free", loss="2.01", result="COMPLETED",
               graphs="7", leave_out=()):
    programs = {"nibble": NIBBLE.replace("@GPU@", gpu).replace("@LOSS@", loss).replace("@GRAPHS@", graphs),
                "nn_cuda_tests": TESTS % result,
                "bench_gpu": BENCH, "gpu_ballast": BALLAST}
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    for name, text in programs.items():
        if name not in leave_out:
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
    # Empty, so that preloading it does nothing but a message of the loader's.
    (folder / "lib" / "libnibble_cuda_on_device.so").write_text("")
    (folder / "model.gguf").write_text("")


def check(root, work, name, expected_code, expected, options=(), **build):
    """Runs a quick check of a made-up build; what differs from {part: status}."""
    folder, out = work / name, work / (name + "_out")
    make_build(folder, **build)
    done = subprocess.run([sys.executable, str(root / "scripts/gpu_check.py"), str(out), "--build", str(folder), "--quick",
                           "--model", str(folder / "model.gguf"), *options], capture_output=True, text=True)
    if done.returncode != expected_code:
        yield f"{name}: exit code {done.returncode}, expected {expected_code}: {done.stderr.strip()[-500:]}"
    if not (out / "summary.json").is_file():
        if expected:
            yield f"{name}: no summary.json"
        return
    parts = {p["part"]: p for p in json.loads((out / "summary.json").read_text())["parts"]}
    for part, status in expected.items():
        if parts.get(part, {}).get("status") != status:
            yield f"{name}: part {part} is {parts.get(part)}, expected {status}"
        elif json.loads((out / f"{part}.json").read_text())["status"] != status:
            yield f"{name}: {part}.json says other than summary.json"
        elif status != "passed" and not parts[part]["reason"]:
            yield f"{name}: part {part} is {status} without a reason"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root, findings = pathlib.Path(sys.argv[1]).resolve(), []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        passed = dict.fromkeys(("environment", "tests", "curve", "kernels", "graphs", "ballast"), "passed") | {"peer": "skipped"}
        findings += check(root, work, "good", 0, passed)
        findings += check(root, work, "other_curve", 1, passed | {"curve": "failed"}, loss="2.2")
        findings += check(root, work, "not_a_number", 1, passed | {"curve": "failed", "graphs": "failed"}, loss="NaN")
        findings += check(root, work, "no_replay", 1, {"graphs": "failed"}, ("--only", "graphs"), graphs="0")
        findings += check(root, work, "skipped_test", 1, {"tests": "failed"}, ("--only", "tests"), result="SKIPPED")
        findings += check(root, work, "no_bench", 0, {"kernels": "skipped"}, ("--only", "kernels"), leave_out=("bench_gpu",))
        findings += check(root, work, "no_gpu", 3, {"environment": "passed", "tests": "skipped", "curve": "skipped"},
                          gpu="GPU no NVIDIA driver")
        findings += check(root, work, "no_such_part", 2, {}, ("--only", "everything"))
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(1)
    print("scripts/gpu_check.py passes, fails and skips as it should")


if __name__ == "__main__":
    main()
