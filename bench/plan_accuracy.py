#!/usr/bin/env python3
"""The memory plan against what a run takes: `nibble plan --json`, then `nibble train` for some steps, for many configurations.

    bench/plan_accuracy.py --nibble build/release/bin/nibble [--model FOLDER] [--cases NAME,...] [--within 0.05] [--smaps]

Without --model, models of random weights are made in --work by bench/make_random_model.py, as the cases' shapes ask. Rows
are random ids, as long as max_length, so that the largest pass occurs in every step. Prints a table, and exits with 1
where a plan is off by more than --within. --smaps adds what the peak consisted of, by mapping. Python's standard library
only.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

MIB = 1 << 20
MAKE_MODEL = pathlib.Path(__file__).with_name("make_random_model.py")

# name: (shape, or shape/layers, and configuration). The defaults stand in base_configuration().
CASES = {
    "small": ("smollm2-135m", {"max_length": 128}),
    "small_rank64": ("smollm2-135m", {"max_length": 128, "lora_r": 64}),
    "small_8bit_layer": ("smollm2-135m", {"max_length": 128, "optim": "adamw_8bit", "recompute": "layer"}),
    "small_batch": ("smollm2-135m", {"max_length": 64, "per_device_train_batch_size": 4, "recompute": "mlp", "loss_chunk_tokens": 64}),
    "none_512": ("smollm2-135m", {"max_length": 512, "recompute": "none"}),
    "elementwise_512": ("smollm2-135m", {"max_length": 512, "recompute": "elementwise"}),
    "mlp_1024": ("smollm2-135m", {"max_length": 1024, "recompute": "mlp"}),
    "layer_1024": ("smollm2-135m", {"max_length": 1024, "recompute": "layer"}),
    "chunk_1024": ("smollm2-135m", {"max_length": 1024, "recompute": "layer", "loss_chunk_tokens": 1024}),
    "qv_2048": ("smollm2-135m", {"max_length": 2048, "recompute": "layer", "lora_target_modules": ["q_proj", "v_proj"]}),
    "dense_512": ("smollm2-135m", {"max_length": 512, "recompute": "none", "load_in_4bit": False}),
    "paged_256": ("smollm2-135m", {"max_length": 256, "lora_r": 128, "optim": "paged_adamw_32bit", "paged_budget_mib": 64}),
    "lion_rank128": ("smollm2-135m", {"max_length": 256, "lora_r": 128, "optim": "lion_32bit"}),
    "1b_256": ("tinyllama-1.1b", {"max_length": 256, "recompute": "none"}),
    "1b_layer_512": ("tinyllama-1.1b", {"max_length": 512, "recompute": "layer"}),
    "1b_rank64_8bit": ("tinyllama-1.1b", {"max_length": 256, "lora_r": 64, "optim": "adamw_8bit", "recompute": "mlp"}),
    "1b_rank64": ("tinyllama-1.1b", {"max_length": 128, "lora_r": 64}),
}
# Few layers and few tokens, for a check of some seconds on every commit.
CASES |= {
    "ci_none": ("smollm2-135m/6", {"max_length": 192}),
    "ci_layer_rank64": ("smollm2-135m/6", {"max_length": 192, "lora_r": 64, "recompute": "layer"}),
    "ci_8bit_chunks": ("smollm2-135m/6", {"max_length": 256, "optim": "adamw_8bit", "recompute": "mlp", "loss_chunk_tokens": 32}),
    "ci_batch_dense": ("smollm2-135m/6", {"max_length": 64, "per_device_train_batch_size": 4, "load_in_4bit": False}),
}
CI = [name for name in CASES if name.startswith("ci_")]


def base_configuration():
    return {"lora_r": 16, "lora_alpha": 32, "packing": False, "shuffle": False, "gradient_accumulation_steps": 1,
            "per_device_train_batch_size": 1, "max_steps": 3, "device": "cpu", "save_steps": 0, "warmup_steps": 0}


def write_rows(path, count, tokens):
    chance = random.Random(tokens)  # ids that every tokenizer has
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            ids = [chance.randrange(3, 250) for _ in range(tokens)]
            file.write(json.dumps({"input_ids": ids}) + "\n")


def model_of(shape, options):
    if options.model:
        return options.model
    name, _, layers = shape.partition("/")
    folder = options.work / shape.replace("/", "-")
    if not (folder / "config.json").exists():
        subprocess.run([sys.executable, MAKE_MODEL, name, folder] + (["--layers", layers] if layers else []), check=True, stdout=subprocess.DEVNULL)
    return folder


def configuration_file(name, options):
    shape, keys = CASES[name]
    config = base_configuration() | keys
    model = model_of(shape, options)
    rows = options.work / f"{name}.jsonl"
    write_rows(rows, 4 * config["per_device_train_batch_size"], config["max_length"])
    shutil.rmtree(options.work / f"run_{name}", ignore_errors=True)
    config |= {"model_name_or_path": str(model), "train_file": str(rows), "output_dir": str(options.work / f"run_{name}")}
    path = options.work / f"{name}.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    return path


def mappings(text):
    """Resident MiB by mapping, from /proc/PID/smaps."""
    sums, name = collections.Counter(), ""
    for line in text.splitlines():
        header = re.match(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)$", line)
        if header:
            name = os.path.basename(header[1]) or "anonymous"
        elif line.startswith("Rss:"):
            sums[name] += int(line.split()[1]) / 1024
    return sums


def train(nibble, config, with_smaps):
    """The run's result, and what its resident memory consisted of when it was largest."""
    process = subprocess.Popen([nibble, "train", config, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    largest, maps = 0, ""
    while with_smaps and process.poll() is None:
        try:
            proc = pathlib.Path("/proc") / str(process.pid)
            resident = int((proc / "statm").read_text().split()[1])
            if resident > largest * 1.002:
                largest, maps = resident, (proc / "smaps").read_text()
        except (OSError, IndexError):
            break
        time.sleep(0.02)
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"nibble train {config} ended with {process.returncode}:\n{err}")
    return json.loads(out), mappings(maps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nibble", required=True)
    parser.add_argument("--model", type=pathlib.Path, help="a model folder for all cases")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/plan_accuracy"))
    parser.add_argument("--cases", default="all", help="ci, all (without those of ci), or names: " + ", ".join(CASES))
    parser.add_argument("--within", type=float, default=0.05)
    parser.add_argument("--smaps", action="store_true")
    parser.add_argument("--components", action="store_true", help="prints every plan's components")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = {"all": [name for name in CASES if name not in CI], "ci": CI}.get(options.cases) or options.cases.split(",")
    print(f"{'case':<18} {'plan MiB':>9} {'measured':>9} {'off':>7}  configuration")
    worst = 0.0
    for name in names:
        config = configuration_file(name, options)
        plan = json.loads(subprocess.run([options.nibble, "plan", config, "--json"], check=True, capture_output=True, text=True).stdout)
        result, maps = train(options.nibble, config, options.smaps)
        planned, measured = plan["total_bytes"]["cpu"] / MIB, result["peak_rss_mib"]
        off = planned / measured - 1
        worst = max(worst, abs(off))
        keys = ", ".join(f"{k} {v}" for k, v in CASES[name][1].items())
        print(f"{name:<18} {planned:>9.0f} {measured:>9.0f} {off:>+7.1%}  {keys}", flush=True)
        if options.components:
            print("    " + ", ".join(f"{c['name']} {c['bytes'] / MIB:.1f}" for c in plan["components"]))
        if options.smaps:
            print("    " + ", ".join(f"{k} {v:.1f}" for k, v in maps.most_common(7)))
    print(f"largest difference {worst:.1%}, allowed {options.within:.0%}")
    return 0 if worst <= options.within else 1


if __name__ == "__main__":
    sys.exit(main())
