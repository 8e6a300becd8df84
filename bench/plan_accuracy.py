#!/usr/bin/env python3
"""The memory plan against what a run takes: `nibble plan --json`, then `nibble train` for some steps, for many configurations.

    bench/plan_accuracy.py --nibble build/release/bin/nibble [--model FOLDER] [--cases NAME,...] [--within 0.05] [--out FILE]

Without --model, models of random weights are made in --work by bench/make_random_model.py, as the cases' shapes ask. Rows
are random ids, as long as max_length, so that the largest pass occurs in every step. Prints a table, and exits with 1
where a plan is off by more than --within. --out writes the table as JSON. --smaps adds what the peak consisted of, by
mapping, --components what the plan did. Python's standard library only.
"""
import argparse
import collections
import json
import os
import pathlib
import platform
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
# A batch that goes through in several passes, evaluation with longer rows than training has, and what is chosen within a budget.
CASES |= {
    "batch_2x512": ("smollm2-135m", {"max_length": 512, "per_device_train_batch_size": 2}),
    "head_4bit_512": ("smollm2-135m", {"max_length": 512, "lm_head_load_in_4bit": True}),
    "budget_1024": ("smollm2-135m", {"max_length": 1024, "max_memory": "560MiB"}),
    "streamed_512": ("smollm2-135m", {"max_length": 512, "recompute": "layer", "base_residency": "streamed"}),
    "1b_batch_2x512": ("tinyllama-1.1b", {"max_length": 512, "per_device_train_batch_size": 2, "recompute": "mlp"}),
    "1b_parallel": ("tinyllama-1.1b", {"max_length": 512, "per_device_train_batch_size": 2, "recompute": "mlp", "parallel_passes": 2}),
    "1b_streamed": ("tinyllama-1.1b", {"max_length": 512, "recompute": "layer", "base_residency": "streamed"}),
}
# Shapes of other families, small enough to be made anew: biases, norms of heads, grouped heads, a head of its own.
SMALL_SHAPES = {
    "small-qwen2": {"model_type": "qwen2", "hidden_size": 448, "intermediate_size": 2432, "num_hidden_layers": 8, "num_attention_heads": 7,
                    "num_key_value_heads": 1, "vocab_size": 24576, "tie_word_embeddings": False},
    "small-qwen3": {"model_type": "qwen3", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8,
                    "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 32768, "tie_word_embeddings": True},
    "small-mistral": {"model_type": "mistral", "hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 6, "num_attention_heads": 10,
                      "num_key_value_heads": 5, "vocab_size": 16384, "tie_word_embeddings": False, "sliding_window": 64},
}
# Few layers and few tokens, for a check of some seconds on every commit.
CASES |= {
    "ci_none": ("smollm2-135m/6", {"max_length": 192, "recompute": "none"}),
    "ci_layer_rank64": ("smollm2-135m/6", {"max_length": 192, "lora_r": 64, "recompute": "layer"}),
    "ci_8bit_chunks": ("smollm2-135m/6", {"max_length": 256, "optim": "adamw_8bit", "recompute": "mlp", "loss_chunk_tokens": 32}),
    "ci_batch_dense": ("smollm2-135m/6", {"max_length": 64, "per_device_train_batch_size": 4, "load_in_4bit": False}),
    "ci_batch_2x512": ("smollm2-135m/6", {"max_length": 512, "per_device_train_batch_size": 2}),
    "ci_streamed": ("smollm2-135m/6", {"max_length": 192, "recompute": "layer", "base_residency": "streamed"}),
    "ci_qwen2": ("small-qwen2", {"max_length": 256}),
    "ci_qwen3_eval": ("small-qwen3", {"max_length": 192, "recompute": "layer", "validation_split_ratio": 0.5, "eval_strategy": "steps", "eval_steps": 2,
                                      "per_device_eval_batch_size": 2}),
    "ci_mistral_fp32": ("small-mistral", {"max_length": 192, "bnb_4bit_compute_dtype": "float32", "optim": "lion_8bit"}),
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
    if name in SMALL_SHAPES:
        config = {"architectures": [SMALL_SHAPES[name]["model_type"].capitalize() + "ForCausalLM"], "torch_dtype": "bfloat16", "hidden_act": "silu",
                  "max_position_embeddings": 4096, "rope_theta": 10000.0, "rms_norm_eps": 1e-06, "initializer_range": 0.02} | SMALL_SHAPES[name]
        name = options.work / f"{name}.json"
        name.write_text(json.dumps(config))
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
    config |= {"model_name_or_path": str(model), "train_file": str(rows), "output_dir": str(options.work / f"run_{name}"),
               "packed_cache_dir": str(options.work / "cache")}
    path = options.work / f"{name}.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    return path


def mappings(text):
    """Resident MiB by mapping, from /proc/PID/smaps. Anonymous memory that can run is what oneDNN compiled."""
    sums, name = collections.Counter(), ""
    for line in text.splitlines():
        header = re.match(r"^[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+\s*(.*)$", line)
        if header:
            name = os.path.basename(header[2]) or ("compiled kernels" if "x" in header[1] else "anonymous")
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
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file with the table")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names = {"all": [name for name in CASES if name not in CI], "ci": CI}.get(options.cases) or options.cases.split(",")
    print(f"{'case':<18} {'plan MiB':>9} {'measured':>9} {'off':>7}  configuration")
    worst, rows = 0.0, []
    for name in names:
        config = configuration_file(name, options)
        plan = json.loads(subprocess.run([options.nibble, "plan", config, "--json"], check=True, capture_output=True, text=True).stdout)
        result, maps = train(options.nibble, config, options.smaps)
        planned, measured = plan["total_bytes"]["cpu"] / MIB, result["peak_rss_mib"]
        off = planned / measured - 1
        worst = max(worst, abs(off))
        rows.append({"case": name, "shape": CASES[name][0], "keys": CASES[name][1], "planned_mib": round(planned, 1), "measured_mib": round(measured, 1),
                     "planned_by_the_run_mib": round(result["plan_bytes"] / MIB, 1), "off_percent": round(100 * off, 2)})
        keys = ", ".join(f"{k} {v}" for k, v in CASES[name][1].items())
        print(f"{name:<18} {planned:>9.0f} {measured:>9.0f} {off:>+7.1%}  {keys}", flush=True)
        if options.components:
            print("    " + ", ".join(f"{c['name']} {c['bytes'] / MIB:.1f}" for c in plan["components"]))
        if options.smaps:
            print("    " + ", ".join(f"{k} {v:.1f}" for k, v in maps.most_common(7)))
    print(f"largest difference {worst:.1%}, allowed {options.within:.0%}")
    if options.out:
        machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "threads": os.environ.get("OMP_NUM_THREADS", "all")}
        options.out.write_text(json.dumps({"command": "bench/plan_accuracy.py --nibble NIBBLE --cases " + options.cases, "machine": machine,
                                           "within": options.within, "largest_difference_percent": round(100 * worst, 2), "cases": rows}, indent=1) + "\n")
    return 0 if worst <= options.within else 1


if __name__ == "__main__":
    sys.exit(main())
