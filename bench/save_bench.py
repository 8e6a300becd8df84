#!/usr/bin/env python3
"""Saving checkpoints: how long training stops, in the background and in place, and how long until a checkpoint is safe.

    bench/save_bench.py --model HF_FOLDER [--rank 16] [--saves 6] [--rounds 3] [--nibble build/release/bin/nibble]
        [--work runs/save_bench] [--set KEY=VALUE]... [--json OUT.json]

Both ways take turns; each run saves after every second of its short steps. Blocked times are `save_blocked_ms` of metrics.jsonl,
of all saves but the last, at the end of the run, which training does not go on after. In place, what blocks is all of a save:
files, checksums, fsync, rename and the removal of older checkpoints. Python's standard library only.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys


def one_run(a, background):
    run = a.work / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [a.nibble, "train", a.work / "run.yaml", "--json", "--set", f"save_in_background={'true' if background else 'false'}"]
    done = subprocess.run(command + [word for s in a.set for word in ("--set", s)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"save_bench: nibble ended with {done.returncode}: {done.stderr[-2000:]}")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    newest = max(run.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    return {"blocked_ms": [row["save_blocked_ms"] for row in rows if "save_blocked_ms" in row], "longest_s": json.loads(done.stdout)["save_s"],
            "bytes": sum(p.stat().st_size for p in newest.iterdir())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--saves", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nibble", default="build/release/bin/nibble")
    parser.add_argument("--work", default="runs/save_bench", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--json", type=pathlib.Path)
    a = parser.parse_args()
    a.work = a.work.resolve()
    a.work.mkdir(parents=True, exist_ok=True)
    (a.work / "rows.jsonl").write_text("".join(json.dumps({"text": f"Row {i}: the ferry leaves at {i % 24}:{i % 60:02}. " * 4}) + "\n" for i in range(64)))
    (a.work / "run.yaml").write_text(f"""model_name_or_path: {a.model.resolve()}
output_dir: run
train_file: rows.jsonl
max_length: 256
packing: false
gradient_accumulation_steps: 1
lora_r: {a.rank}
max_steps: {2 * a.saves + 2}
save_steps: 2
save_total_limit: 2
""")
    results = {"background": [], "in_place": []}
    for _ in range(a.rounds):
        for name, runs in results.items():
            runs.append(one_run(a, name == "background"))
    out = {"model": a.model.resolve().name, "rank": a.rank, "rounds": a.rounds}
    for name, runs in results.items():
        blocked = [ms for run in runs for ms in run["blocked_ms"]]
        out[name] = {"checkpoint_mib": round(runs[0]["bytes"] / 2**20, 1), "saves": len(blocked), "blocked_ms_median": round(statistics.median(blocked), 2),
                     "blocked_ms_longest": round(max(blocked), 2), "until_safe_s_longest": round(max(run["longest_s"] for run in runs), 3)}
    print(json.dumps(out, indent=2))
    if a.json:
        a.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
