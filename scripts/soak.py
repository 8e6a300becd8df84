#!/usr/bin/env python3
"""A long run watched from outside: memory, file descriptors and threads must stay flat over thousands of steps.

    scripts/soak.py [--minutes 20] [--nibble build/release/bin/nibble] [--model FOLDER] [--set KEY=VALUE]... [--work runs/soak]
        [--json OUT.json]

Trains a small random model (or --model) on rows of unequal length with dropout, evaluating and saving all the time, in the
background, and reads /proc of the process twice a second. After the first fifth of the time, which fills what fills once (the
history that checkpoints keep, LibTorch's caches), it asks that

    resident memory grow by less than 1 MiB in 1,000 steps (the slope of a straight line through the samples),
    no more files be open at the end than then (the fewest in a window: a save opens some for a moment),
    no more threads be there at the end than then (likewise),
    SIGTERM end it with a checkpoint and exit code 75, and leave nothing half in the run folder.

Python's standard library only. Exit code 0 where all of it holds.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SHAPE = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 64, "intermediate_size": 176,
         "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 259, "max_position_embeddings": 512,
         "rope_theta": 10000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "initializer_range": 0.02, "tie_word_embeddings": True,
         "attention_bias": False}
MOST_SLOPE = 1.0  # MiB in 1,000 steps
WORDS = "the harbour master counted nineteen boats before fog came in and only twelve had answered her radio by noon".split()


def prepare(a):
    shutil.rmtree(a.work, ignore_errors=True)
    a.work.mkdir(parents=True)
    if not a.model:
        a.model = a.work / "model"
        (a.work / "shape.json").write_text(json.dumps(SHAPE))
        subprocess.run([sys.executable, HERE.parent / "bench/make_random_model.py", a.work / "shape.json", a.model], check=True, stdout=subprocess.DEVNULL)
    draw = random.Random(1)
    for name, rows in (("rows.jsonl", 4000), ("held_back.jsonl", 40)):
        with open(a.work / name, "w") as out:
            for _ in range(rows):
                out.write(json.dumps({"text": " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 60)))}) + "\n")
    (a.work / "run.yaml").write_text(f"""model_name_or_path: {pathlib.Path(a.model).resolve()}
output_dir: run
train_file: rows.jsonl
validation_file: held_back.jsonl
dataset_prepared_path: prepared
max_length: 384
packing: false
per_device_train_batch_size: 2
gradient_accumulation_steps: 2
lora_r: 8
lora_dropout: 0.1
optim: adamw_8bit
max_steps: 100000000
lr_scheduler_type: constant
eval_strategy: steps
eval_steps: 100
save_steps: 50
save_total_limit: 2
save_in_background: true
logging_steps: 10
""")


def sample(pid, metrics):
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    step = 0
    if metrics.exists():
        with open(metrics, "rb") as file:
            file.seek(max(0, metrics.stat().st_size - 8192))
            lines = [line for line in file.read().split(b"\n")[1:-1] if line]
        if lines:
            step = json.loads(lines[-1])["step"]
    return {"seconds": time.monotonic(), "step": step, "rss_mib": int(status["VmRSS"].split()[0]) / 1024, "threads": int(status["Threads"]),
            "files": len(os.listdir(f"/proc/{pid}/fd"))}


def slope(samples):
    """MiB in 1,000 steps, by least squares."""
    n = len(samples)
    x = [s["step"] / 1000 for s in samples]
    y = [s["rss_mib"] for s in samples]
    mx, my = sum(x) / n, sum(y) / n
    spread = sum((v - mx) ** 2 for v in x)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / spread if spread else float("nan")


def fewest(samples, key):
    return min(s[key] for s in samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--nibble", default=HERE.parent / "build/release/bin/nibble", type=pathlib.Path)
    parser.add_argument("--model")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--work", default="runs/soak", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    a = parser.parse_args()
    a.work = a.work.resolve()
    prepare(a)
    command = [a.nibble.resolve(), "train", a.work / "run.yaml", "--json"] + [word for s in a.set for word in ("--set", s)]
    with open(a.work / "stderr.txt", "w") as err, open(a.work / "stdout.txt", "w") as out:
        run = subprocess.Popen(command, stdout=out, stderr=err)
    samples = []
    begin = time.monotonic()
    while time.monotonic() - begin < 60 * a.minutes:
        time.sleep(0.5)
        if run.poll() is not None:
            sys.exit(f"soak: nibble ended with {run.returncode}: {(a.work / 'stderr.txt').read_text()[-2000:]}")
        samples.append(sample(run.pid, a.work / "run/metrics.jsonl"))
    run.send_signal(signal.SIGTERM)
    code = run.wait(timeout=120)

    settled = samples[len(samples) // 5:]
    window = max(1, len(settled) // 10)
    before, after = settled[:window], settled[-window:]
    last = json.loads((a.work / "stdout.txt").read_text())
    half = sorted(p.name for p in (a.work / "run").iterdir() if p.name.endswith(".partial"))
    result = {
        "minutes": a.minutes, "steps": last["global_step"], "saves": last["global_step"] // 50, "evaluations": last["global_step"] // 100,
        "rss_mib": [round(samples[0]["rss_mib"], 1), round(before[0]["rss_mib"], 1), round(after[-1]["rss_mib"], 1)],
        "slope_mib_per_1000_steps": round(slope(settled), 4),
        "open_files": [fewest(before, "files"), fewest(after, "files")], "threads": [fewest(before, "threads"), fewest(after, "threads")],
        "exit_code": code, "half_written": half,
    }
    wrong = []
    if not result["slope_mib_per_1000_steps"] < MOST_SLOPE:
        wrong.append("memory grows")
    if result["open_files"][1] > result["open_files"][0]:
        wrong.append("open files grow")
    if result["threads"][1] > result["threads"][0]:
        wrong.append("threads grow")
    if code != 75 or not last["interrupted"]:
        wrong.append("SIGTERM did not end it as it should")
    if half:
        wrong.append("something half written is left")
    if subprocess.run([a.nibble.resolve(), "ckpt", "verify", a.work / "run"], stdout=subprocess.DEVNULL).returncode != 0:
        wrong.append("a checkpoint is not good")
    result["wrong"] = wrong
    print(json.dumps(result, indent=2))
    if a.json:
        a.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
