#!/usr/bin/env python3
"""How long nibble takes to end after a signal: SIGTERM at moments spread over each verb's time, and the time until it has ended.

    bench/stop_latency.py --nibble build/release/bin/nibble [--shape smollm2-135m] [--rounds 12] [--work DIR] [--out FILE]

Makes a model of random weights and rows of random ids, lets each verb run once to its end for its time, then stops it `rounds`
times. A verb must end with 75 (or 0 where it was through) and leave no temporary file. Exits with 1 where one does not, or takes
longer than --within seconds. Python's standard library only.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

MAKE_MODEL = pathlib.Path(__file__).with_name("make_random_model.py")


def write_rows(path, rows, tokens, vocabulary):
    chance = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(rows):
            file.write(json.dumps({"input_ids": [chance.randrange(3, vocabulary) for _ in range(tokens)]}) + "\n")


def write_text_rows(path, rows):
    chance = random.Random(2)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(5000)]
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(rows):
            file.write(json.dumps({"text": " ".join(chance.choices(words, k=400))}) + "\n")


def leftovers(folder):
    return [str(path) for path in folder.rglob("*") if path.name.endswith((".partial", ".records"))]


def run(command, environment, stop_after=None):
    """-> exit code, seconds of the whole run, seconds from the signal to the end, or None."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sent = None
    if stop_after is not None:
        try:
            process.wait(stop_after)
        except subprocess.TimeoutExpired:
            sent = time.monotonic()
            process.send_signal(signal.SIGTERM)
    code = process.wait()
    end = time.monotonic()
    return code, end - start, end - sent if sent else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nibble", required=True)
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--within", type=float, default=10.0, help="seconds that ending may take")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("stop_latency"))
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    nibble = str(pathlib.Path(options.nibble).resolve())
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    model = work / "model"
    subprocess.run([sys.executable, str(MAKE_MODEL), options.shape, str(model)], check=True, stdout=subprocess.DEVNULL)
    write_rows(work / "rows.jsonl", 64, 256, vocabulary=259)  # the model's tokenizer has the bytes and three more
    write_text_rows(work / "text.jsonl", 5000)
    (work / "run.yaml").write_text(
        f"model_name_or_path: {model}\noutput_dir: trained\ntrain_file: rows.jsonl\nmax_length: 256\nmax_steps: 1\n"
        "gradient_accumulation_steps: 2\nper_device_train_batch_size: 2\n", encoding="utf-8")
    environment = dict(os.environ, XDG_CACHE_HOME=str(work / "user_cache"))
    config, trained = str(work / "run.yaml"), str(work / "trained")
    code, _, _ = run([nibble, "train", config], environment)
    if code != 0:
        sys.exit(f"the run to export failed with {code}")

    def training(*sets):
        words = [nibble, "train", config, "--set", f"output_dir={work / 'again'}"]
        for one in ("max_steps=3", *sets):
            words += ["--set", one]
        return words

    out = work / "out"
    verbs = {
        "train": training(),
        "train, evaluating": training("validation_split_ratio=0.5", "eval_strategy=steps", "eval_steps=1"),
        "train, worst step first": training("worst_step_first=true", "max_steps=1"),
        "train, preparing text": training(f"train_file={work / 'text.jsonl'}", "truncation=truncate", "dataset_cache=false", "max_steps=1",
                                          "gradient_accumulation_steps=1"),
        "train, making the packed cache": training("packed_cache=true", f"packed_cache_dir={work / 'again' / 'packed'}", "max_steps=1",
                                                   "gradient_accumulation_steps=1"),
        "preprocess": [nibble, "preprocess", config, "--set", f"train_file={work / 'text.jsonl'}", "--set", "truncation=truncate", "--set",
                       f"dataset_prepared_path={work / 'again'}"],
        "export adapter": [nibble, "export", trained, str(out)],
        "export merged": [nibble, "export", trained, str(out), "--format", "merged"],
        "export merged --verify": [nibble, "export", trained, str(out), "--format", "merged", "--verify"],
        "eval": [nibble, "eval", trained, "--set", f"validation_file={work / 'rows.jsonl'}"],
        "generate": [nibble, "generate", trained, "--prompt", "word " * 400, "--max-new-tokens", "60", "--ignore-eos"],
    }
    table, failed = [], False
    for name, command in verbs.items():
        def clean():
            for folder in (work / "again", out):
                shutil.rmtree(folder, ignore_errors=True)
        clean()
        code, seconds, _ = run(command, environment)
        if code != 0:
            sys.exit(f"{name}: ended with {code}")
        waits = []
        for i in range(options.rounds):
            clean()
            code, _, wait = run(command, environment, seconds * (i + 0.5) / options.rounds)
            left = leftovers(work)
            if wait is None or code == -signal.SIGTERM:  # through already, or the libraries were still being loaded
                continue
            waits.append(wait)
            if code not in (0, 75) or left or wait > options.within:
                failed = True
                print(f"{name}: ended with {code} after {wait:.2f} s, left {left}", file=sys.stderr)
        clean()
        if waits:
            table.append({"verb": name, "seconds": seconds, "stops": len(waits), "median_s": statistics.median(waits), "longest_s": max(waits)})
            print(f"{name:32} {seconds:6.1f} s  {len(waits):3} stops  median {statistics.median(waits):5.2f} s  longest {max(waits):5.2f} s", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"shape": options.shape, "cores": os.cpu_count(), "verbs": table}, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
