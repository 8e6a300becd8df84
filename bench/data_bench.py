#!/usr/bin/env python3
"""Preparing data: tokenizer against the `tokenizers` package, a large file's time and memory, the second start, packing.

    bench/data_bench.py --model HF_FOLDER --text WIKITEXT.txt --rows ALPACA.jsonl [--only PART,PART] [--rounds 7] [--threads 2]
        [--mib 200] [--nibble build/release/bin/nibble] [--bench-data build/release/bin/bench_data]
        [--peer-python .deps/peer/bin/python] [--work runs/data_bench] [--json OUT.json]

Parts:

    encode      tokens/s of byte-level BPE on the lines of --text, both sides with --threads threads, taking turns; the ids must agree
    preprocess  `nibble preprocess` of --mib MiB of rows like those of --rows, no two equal: time and peak memory (VmHWM)
    start       `nibble train` of one step with those data from the cache: from the process's start until the first batch could go
                in, less the same with a file of ten rows, and all of it
    pack        rows from five million documents, by both strategies

Medians over the rounds. NIBBLE_BENCH=ON builds bench_data. Python's standard library only; the peer runs in --peer-python.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

PARTS = ("encode", "preprocess", "start", "pack")
MUST_RATIO, MUST_MIB, MUST_START_S = 1.5, 300, 0.3

# A round for each line on stdin. encode_batch_fast leaves offsets out, where the package has it: the peer's best.
PEER = r"""
import json, os, sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(os.path.join(sys.argv[1], "tokenizer.json"))
texts = open(sys.argv[2], encoding="utf-8", newline="\n").read().split("\n")
texts = [t + "\n" for t in (texts[:-1] if texts[-1] == "" else texts)]
encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
for line in sys.stdin:
    start = time.perf_counter()
    encodings = encode(texts, add_special_tokens=False)
    seconds = time.perf_counter() - start
    checksum = 0
    for e in encodings:
        for i in e.ids:
            checksum = (checksum * 31 + i) & 0xFFFFFFFFFFFFFFFF
    print(json.dumps({"tokens": sum(len(e) for e in encodings), "seconds": seconds, "checksum": checksum}), flush=True)
"""


def fail(text):
    sys.exit(f"data_bench: {text}")


class Side:
    """A program that makes one round for each line it gets."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            fail(f"{self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def encode(a):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(a.threads), TOKENIZERS_PARALLELISM="true")
    ours = Side([a.bench_data, "encode", a.model, a.text, str(a.threads)], environment)
    peer = Side([a.peer_python, "-c", PEER, a.model, a.text], environment)
    first = ours.round(), peer.round()  # warm caches; not counted
    if first[0]["tokens"] != first[1]["tokens"] or first[0]["checksum"] != first[1]["checksum"]:
        fail(f"the two sides give other ids: {first}")
    rounds = [(ours.round()["seconds"], peer.round()["seconds"]) for _ in range(a.rounds)]
    ours.end()
    peer.end()
    ratios = sorted(p / o for o, p in rounds)
    tokens = first[0]["tokens"]
    return {"tokens": tokens, "threads": a.threads, "tokens_per_s": tokens / statistics.median(o for o, _ in rounds),
            "peer_tokens_per_s": tokens / statistics.median(p for _, p in rounds), "ratio": statistics.median(ratios),
            "ratio_low": ratios[0], "ratio_high": ratios[-1], "must": MUST_RATIO}


def write_rows(source, target, mib):
    """Rows of `source` again and again, each with its number in two places, so that no text repeats."""
    rows = [json.loads(line) for line in open(source, encoding="utf-8")]
    written = number = 0
    with open(target, "w", encoding="utf-8") as out:
        while written < mib << 20:
            row = dict(rows[number % len(rows)])
            row["instruction"] = f"Question {number}: {row['instruction']}"
            row["output"] = f"{row['output']} This was question {number}."
            line = json.dumps(row, ensure_ascii=False) + "\n"
            out.write(line)
            written += len(line.encode())
            number += 1
    return number


def measured(command, environment):
    """(seconds, peak resident MiB, stdout, stderr) of a program. A child that has ended tells its peak; each is waited for by itself."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        fail(f"{command} ended with {process.returncode}:\n{err}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, out, err


def settings(a, data):
    return [a.work / "run.yaml", "--json", "--set", f"train_file={data}", "--set", f"dataset_prepared_path={a.work / 'cache'}"]


def prepare(a):
    data = a.work / f"rows_{a.mib}.jsonl"
    rows = write_rows(a.rows, data, a.mib) if not data.exists() else sum(1 for _ in open(data, "rb"))
    (a.work / "run.yaml").write_text(
        f"model_name_or_path: {pathlib.Path(a.model).resolve()}\noutput_dir: run\nmax_length: 1024\ntruncation: truncate\nmax_steps: 1\n"
        "gradient_accumulation_steps: 1\nsave_steps: 0\n")
    return data, rows


def preprocess(a):
    data, rows = prepare(a)
    seconds, peaks = [], []
    for _ in range(max(1, a.rounds // 3)):
        for file in (a.work / "cache").glob("*"):
            file.unlink()
        took, peak, out, _ = measured([a.nibble, "preprocess", *settings(a, data)], os.environ)
        seconds.append(took)
        peaks.append(peak)
    stats = json.loads(out)["train"]
    return {"mib": data.stat().st_size / 2**20, "rows": rows, "tokens": stats["tokens"], "seconds": statistics.median(seconds),
            "tokens_per_s": stats["tokens"] / statistics.median(seconds), "peak_mib": max(peaks), "must_mib": MUST_MIB,
            "cache_mib": sum(f.stat().st_size for f in (a.work / "cache").glob("*.tokens")) / 2**20}


def start(a):
    data, _ = prepare(a)
    few = a.work / "few.jsonl"
    few.write_text("".join(open(a.rows, encoding="utf-8").readlines()[:10]))
    ready = {}
    for name, file in (("large", data), ("few", few)):
        measured([a.nibble, "preprocess", *settings(a, file)], os.environ)
        ready[name] = []
    for _ in range(a.rounds):
        for name, file in (("large", data), ("few", few)):
            subprocess.run(["rm", "-rf", a.work / "run"], check=True)
            _, _, out, _ = measured([a.nibble, "train", *settings(a, file)], os.environ)
            result = json.loads(out)
            ready[name].append((result["ready_s"], result["ready_s"] - result["load_s"]))
    median = {name: [statistics.median(v) for v in zip(*values)] for name, values in ready.items()}
    return {"ready_s": median["large"][0], "ready_without_model_s": median["large"][1], "with_ten_rows_s": median["few"][1],
            "data_s": median["large"][1] - median["few"][1], "must": MUST_START_S}


def pack(a):
    out = subprocess.run([a.bench_data, "pack", "5000000"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--text", "--rows"):
        parser.add_argument(name, required=True)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--nibble", default="build/release/bin/nibble")
    parser.add_argument("--bench-data", default="build/release/bin/bench_data")
    parser.add_argument("--peer-python", default=".deps/peer/bin/python")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("runs/data_bench"))
    parser.add_argument("--json", type=pathlib.Path)
    a = parser.parse_args()
    a.work = a.work.resolve()
    a.work.mkdir(parents=True, exist_ok=True)
    result = {}
    for part in a.only.split(","):
        if part not in PARTS:
            fail(f"no part '{part}': {', '.join(PARTS)}")
        result[part] = globals()[part](a)
        print(f"{part}: {json.dumps(result[part])}", file=sys.stderr)
    text = json.dumps(result, indent=1)
    if a.json:
        a.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
