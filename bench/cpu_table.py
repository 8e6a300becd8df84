#!/usr/bin/env python3
"""nibble's speed and memory on this machine's CPU, beside transformers + PEFT + bitsandbytes: JSON and a table in Markdown.

    bench/cpu_table.py --peer-script PEER.py --model HF_FOLDER --data ALPACA.jsonl [--only PART,PART] [--rounds 5]
        [--nibble build/release/bin/nibble] [--bench-cpu build/release/bin/bench_cpu] [--peer-python .deps/peer/bin/python]
        [--threads 2] [--work runs/cpu_table] [--json OUT.json] [--markdown OUT.md]

Parts, each callable alone:

    rates       what matrix products (LibTorch's and nibble's own) and plain copies reach here: the limits of all below (always measured)
    training    bench/compare_peer.py for each case: both sides take turns on the same rows and must reach the same losses; products
                are measured again before and after each of nibble's runs, for its share of them
    load        load and quantize a bf16 checkpoint of 1.1B random weights
    start       from the packed cache of that model to the first batch
    merge       adapter into base and written, against merge_and_unload and save_pretrained
    generation  greedy, NF4, tokens/s after the prompt, the two sides taking turns; and without guesses from earlier text

--model is a small model with a tokenizer (SmolLM2-135M in docs/benchmarks.md); the 1.1B one is made in --work. Medians over
the rounds. The gate at the end fails where a training figure is above 95 % of the rate of matrix products that was measured
in the same run, which no true figure can be. nibble needs NIBBLE_BENCH=ON. Python's standard library only.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

from peer_environment import peer_environment

HERE = pathlib.Path(__file__).resolve().parent
PARTS = ("training", "load", "start", "merge", "generation")
NEW_TOKENS = 64
PROMPT = "The harbour master counted nineteen boats before the fog came in. By noon only twelve had answered the radio, and"

# name, model, rows and tokens of a step, steps, the peer's options, must and aim of the ratio.
TRAINING = (
    ("135M 2x512", "small", 512, 2, 10, ["--no-checkpointing"], 2.5, 3.3),
    ("135M 2x512, peer stock", "small", 512, 2, 8, [], 3.3, 4.5),
    ("135M 1x2048", "small", 2048, 1, 6, ["--no-checkpointing"], 2.5, 3.3),
    ("135M rows as they come, peer stock", "rows", 512, 8, 6, [], 4.0, 6.0),
    ("1.1B 1x512", "large", 512, 1, 4, ["--no-checkpointing"], 2.0, 3.0),
)

# Of bench_cpu's rates, those of the linears of each model; of rows of any length no share is taken.
SHAPES = {"small": ["1024x1536x576"], "large": ["512x2048x2048", "512x5632x2048", "512x2048x5632"]}


def fail(text):
    sys.exit(f"cpu_table: {text}")


class Bench:
    def __init__(self, a):
        self.a = a
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        self.out = {"parts": {}}
        self.lines = []  # (figure, value, peer, ratio or share, must, aim, whether less is better)

        self.peer_environment = peer_environment(a.peer_python, self.environment)

    def run(self, command, name, check=True, environment=None):
        """The JSON object on the last line of a command's output, and how long it took."""
        log = self.a.work / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        with open(log, "w") as diagnostics:
            done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=diagnostics, text=True,
                                  stdin=subprocess.DEVNULL, env=environment or self.environment)
        if check and done.returncode != 0:
            fail(f"{' '.join(map(str, command))}\nexit code {done.returncode}; the end of {log}:\n{log.read_text()[-2000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1]), time.monotonic() - begin

    def peer(self, name, *command):
        return self.run([self.a.peer_python, "-W", "ignore", HERE / "peer_tasks.py", *command], name, environment=self.peer_environment)[0]

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def figure(self, name, value, peer, ratio, must, aim, less=False):
        self.lines.append({"figure": name, "nibble": value, "peer": peer, "ratio": ratio, "must": must, "aim": aim, "less": less})

    def large(self):
        """The 1.1B model, made once."""
        folder = self.a.work / "model_1b"
        if not (folder / "config.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, HERE / "make_random_model.py", "tinyllama-1.1b", folder], check=True, stdout=sys.stderr)
        return folder

    def large_rows(self, count):
        """Rows of byte tokens, which its tokenizer has."""
        text = pathlib.Path(self.a.data).read_bytes()
        path = self.a.work / "rows_1b.jsonl"
        with open(path, "w") as out:
            for i in range(count):
                out.write(json.dumps({"input_ids": [3 + b for b in text[512 * i:512 * (i + 1)]]}) + "\n")
        return path


def best_products(rates):
    """GFLOP/s of bf16 products, LibTorch's or nibble's own on AMX: what this machine does."""
    return max(*rates["bf16_gflops"].values(), *rates["nibble_bf16_gflops"].values())


def products_at_shapes(rates, which):
    """GFLOP/s of bf16 products at the shapes of the model, the faster of the two at each: what its linears can take at best."""
    return statistics.harmonic_mean(max(rates[side][shape] for side in ("bf16_gflops", "nibble_bf16_gflops")) for shape in SHAPES[which])


def flop_per_token(config, tokens, rank):
    """Of a step that recomputes nothing: frozen linears and head forward and to their inputs, attention over the causal half
    with a backward of 2.5 times its forward, the adapters' three products."""
    hidden, layers, mlp = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    q, kv = heads * head_dim, config["num_key_value_heads"] * head_dim
    linears = layers * (hidden * (2 * q + 2 * kv) + 3 * hidden * mlp)
    adapters = layers * rank * ((hidden + q) * 2 + (hidden + kv) * 2 + (hidden + mlp) * 3)
    return 4 * (linears + config["vocab_size"] * hidden) + 3.5 * 2 * tokens * q * layers + 6 * adapters


def training(b):
    results = {}
    for name, which, seq, batch, steps, options, must, aim in TRAINING:
        if b.a.case and b.a.case not in name:
            continue
        b.say(f"training: {name}")
        work = b.a.work / "training"
        model = b.large() if which == "large" else b.a.model
        command = [sys.executable, HERE / "compare_peer.py", "--peer-script", b.a.peer_script, "--model", model, "--nibble", b.a.nibble,
                   "--peer-python", b.a.peer_python, "--rounds", b.a.rounds, "--steps", steps, "--seq", seq, "--batch", batch,
                   "--threads", b.a.threads, "--work", work, "--json", b.a.work / "training.json"]
        command += [f"--peer-option={o}" for o in options]
        if which == "small":
            command += ["--data", b.a.data]
        elif which == "large":
            command += ["--rows", b.large_rows(batch * steps)]
        else:
            rows = b.a.work / "rows_as_they_come.jsonl"
            b.peer("rows", "rows", b.a.model, b.a.data, rows, "--max-length", seq)
            command += ["--rows", rows]
        if which in SHAPES:
            command += ["--bench-cpu", b.a.bench_cpu]
        done = subprocess.run([str(c) for c in command], stdout=sys.stderr, env=b.environment)
        if not (b.a.work / "training.json").is_file():
            fail(f"training {name}: compare_peer.py ended with {done.returncode}")
        result = json.loads((b.a.work / "training.json").read_text())
        (b.a.work / "training.json").unlink()
        median = result["median"]
        rate = median["tokens_per_s"]["nibble"]
        if which in SHAPES:
            config = json.loads((pathlib.Path(model) / "config.json").read_text())
            gflop = flop_per_token(config, seq, 16) * 1e-9
            rounds = result["rounds"]
            result["products_gflops"] = [statistics.fmean(products_at_shapes(rates, which) for rates in around) for around in rounds["rates"]]
            shares = [ours["tokens_per_s"] * gflop / products for ours, products in zip(rounds["nibble"], result["products_gflops"])]
            result["shares_of_products"], result["share_of_products"] = shares, statistics.median(shares)
        results[name] = {key: value for key, value in result.items() if key != "rounds"}
        figures = median["tokens_per_s"]
        b.figure(f"{name}: tokens/s", rate, figures["peer"], figures["ratio"], must, aim)
        for key, title, most, goal in (("peak_rss_mib", "peak memory [MiB]", 0.25, 0.15), ("first_step_s", "first step [s]", 0.15, 0.08)):
            b.figure(f"{name}: {title}", median[key]["nibble"], median[key]["peer"], median[key]["ratio"], most, goal, less=True)
        if which == "large":
            b.figure(f"{name}: share of the rate of bf16 products", result["share_of_products"], None, result["share_of_products"], 0.65, 0.75)
        if result["disagreements"]:
            b.say(f"training {name}: the losses disagree, so its figures are void: {result['disagreements'][:3]}")
            results[name]["void"] = True
    return results


def load(b):
    result = b.run([b.a.bench_cpu, "load", b.large(), b.a.rounds], "load")[0]
    b.figure("load and quantize 1.1B [GB/s of bf16]", result["gb_per_s"], None, result["gb_per_s"], 5.0, 8.0)
    return result


def start(b):
    """Process start to the first batch: what `train` says of its first step, less the step itself, and of the process's own start."""
    folder, model = b.a.work / "cache", b.large()
    in_process = b.run([b.a.bench_cpu, "start", model, folder, b.a.rounds], "start_in_process")[0]
    keys = {"model_name_or_path": str(model.resolve()), "train_file": str(b.large_rows(4).resolve()), "output_dir": str((b.a.work / "start").resolve()),
            "max_length": 512, "packing": False, "shuffle": False, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1,
            "max_steps": 1, "lr_scheduler_type": "constant", "save_steps": 0, "packed_cache": True, "packed_cache_dir": str(folder.resolve())}
    config = b.a.work / "start.yaml"
    config.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))
    ready, process = [], []
    for _ in range(b.a.rounds + 1):  # the first makes the cache, or compares its checksums
        shutil.rmtree(b.a.work / "start", ignore_errors=True)
        result, _ = b.run([b.a.nibble, "train", config, "--json"], "start")
        ready.append(result["ready_s"])
        begin = time.monotonic()
        subprocess.run([b.a.nibble, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=b.environment)
        process.append(time.monotonic() - begin)
    whole, libraries = statistics.median(ready[1:]), statistics.median(process[1:])
    b.figure("packed cache to the first batch, 1.1B [s from main]", whole - libraries, None, whole - libraries, 0.5, 0.2, less=True)
    b.figure("the same [s from process start]", whole, None, whole, None, None, less=True)
    return {"from_process_start_s": whole, "process_alone_s": libraries, "from_main_s": whole - libraries, "cache_to_model_s": in_process["median_s"]}


def make_adapter(b):
    """An adapter of the 1.1B model, as a run of one step leaves it."""
    folder = b.a.work / "adapter_run"
    if not (folder / "checkpoint-1").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        keys = {"model_name_or_path": str(b.large().resolve()), "train_file": str(b.large_rows(4).resolve()), "output_dir": str(folder.resolve()),
                "max_length": 512, "packing": False, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "max_steps": 1}
        config = b.a.work / "adapter.yaml"
        config.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))
        b.run([b.a.nibble, "train", config, "--json"], "adapter")
    return folder / "checkpoint-1"


def merge(b):
    adapter, ours, theirs = make_adapter(b), {"dequantized": [], "original": []}, []
    for i in range(b.a.rounds):
        b.say(f"merge: round {i + 1} of {b.a.rounds}")
        for base, seconds in ours.items():
            shutil.rmtree(b.a.work / "merged", ignore_errors=True)
            seconds.append(b.run([b.a.nibble, "export", adapter, b.a.work / "merged", "--format", "merged", "--merge-base", base, "--json"], f"merge_{base}")[0]["seconds"])
        shutil.rmtree(b.a.work / "merged", ignore_errors=True)
        theirs.append(b.peer("merge_peer", "merge", b.large(), adapter, b.a.work / "merged", "--threads", b.a.threads))
    shutil.rmtree(b.a.work / "merged", ignore_errors=True)
    peer = {key: statistics.median(r[key] for r in theirs) for key in theirs[0]}
    seconds = {base: statistics.median(s) for base, s in ours.items()}
    # Both from files to files: nibble's time has reading, quantizing and syncing in it, the peer's its loading.
    b.figure("merge and write 1.1B [s]", seconds["dequantized"], peer["total_s"], peer["total_s"] / seconds["dequantized"], 3.0, 5.0)
    b.figure("merge and write 1.1B, the base's own precision [s]", seconds["original"], peer["total_s"], peer["total_s"] / seconds["original"], 3.0, 5.0)
    return {"nibble_s": seconds, "peer": peer, "rounds": {"nibble": ours, "peer": theirs}}


def generation(b):
    results = {}
    for name, model in (("135M", b.a.model), ("1.1B", b.large())):
        if b.a.case and b.a.case not in name:
            continue
        ours, plain, theirs = [], [], []
        for i in range(b.a.rounds):
            b.say(f"generation: {name}, round {i + 1} of {b.a.rounds}")
            command = [b.a.nibble, "generate", model, "--prompt", PROMPT, "--max-new-tokens", NEW_TOKENS, "--ignore-eos", "--set", "load_in_4bit=true", "--json"]
            result, _ = b.run(command, "generation")
            ours.append(result["tokens_per_s"])
            one_by_one, _ = b.run([*command, "--prompt-lookup-num-tokens", 0], "generation_one_by_one")
            plain.append(one_by_one["tokens_per_s"])
            if one_by_one["ids"] != result["ids"]:
                fail(f"generation {name}: guesses changed the text")
            ids = result["prompt_ids"]
            theirs.append(b.peer("generation_peer", "generation", model, "--prompt-ids", ",".join(map(str, ids)), "--new-tokens", NEW_TOKENS, "--threads", b.a.threads))
        rate, alone, peer = statistics.median(ours), statistics.median(plain), statistics.median(r["tokens_per_s"] for r in theirs)
        same = next((i for i, (x, y) in enumerate(zip(result["ids"], theirs[-1]["ids"])) if x != y), len(result["ids"]))
        results[name] = {"nibble": rate, "nibble_one_by_one": alone, "peer": peer, "drafted": result["drafted"], "accepted": result["accepted"],
                         "rounds": {"nibble": ours, "nibble_one_by_one": plain, "peer": [r["tokens_per_s"] for r in theirs]}, "same_first_tokens": same}
        b.figure(f"greedy generation {name} [tokens/s]", rate, peer, rate / peer, 5.0, 20.0)
        b.figure(f"greedy generation {name}, token by token [tokens/s]", alone, peer, alone / peer, None, None)
    return results


def machine(b):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu, "threads": b.a.threads, "cores": os.cpu_count(), "memory_gib": round(memory, 1), "kernel": platform.release(),
            "commit": commit, "peer": b.peer("versions", "versions") if b.a.peer_python.is_file() else None}


def number(value, ratio=False):
    if value is None:
        return "-"
    return f"{value:.2f}x" if ratio else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def verdict(line):
    if line["must"] is None:
        return "-"
    reaches = (lambda bound: line["ratio"] <= bound) if line["less"] else (lambda bound: line["ratio"] >= bound)
    return "aim" if reaches(line["aim"]) else "must" if reaches(line["must"]) else "**missed**"


def markdown(b):
    m, r = b.out["machine"], b.out["rates"]
    rows = ["| figure | nibble | peer | ratio | must | aim | reached |", "|---|---|---|---|---|---|---|"]
    for line in b.lines:
        compared = line["peer"] is not None
        rows.append(f"| {line['figure']} | {number(line['nibble'])} | {number(line['peer'])} | {number(line['ratio'], True) if compared else '-'} | "
                    f"{number(line['must'])} | {number(line['aim'])} | {verdict(line)} |")
    products = best_products(r)
    head = (f"{m['cpu']}, {m['threads']} threads of {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}; nibble {m['commit']}; "
            f"peer {m['peer']}. In the same run: bf16 products {products:.0f} GFLOP/s, copy {r['copy_gb_per_s']:.1f} GB/s, "
            f"read {r['read_gb_per_s']:.1f} GB/s. Medians of {b.a.rounds} rounds.")
    return head + "\n\n" + "\n".join(rows) + "\n"


def gate(b):
    """Figures that cannot be true."""
    cases = b.out["parts"].get("training", {})
    return [f"{name}: {100 * case['share_of_products']:.0f} % of the measured rate of matrix products" for name, case in cases.items()
            if case.get("share_of_products", 0) > 0.95]


def arguments():
    root = HERE.parent
    deps = pathlib.Path(os.environ.get("NIBBLE_DEPS", root / ".deps"))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer-script", type=pathlib.Path, help="for training")
    p.add_argument("--model", type=pathlib.Path, required=True)
    p.add_argument("--data", type=pathlib.Path, required=True)
    p.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}, or rates alone")
    p.add_argument("--case", default="", help="only the training and generation cases whose name has this in it")
    p.add_argument("--nibble", type=pathlib.Path, default=root / "build/release/bin/nibble")
    p.add_argument("--bench-cpu", type=pathlib.Path, default=root / "build/release/bin/bench_cpu")
    p.add_argument("--peer-python", type=pathlib.Path, default=deps / "peer/bin/python")
    p.add_argument("--work", type=pathlib.Path, default=root / "runs/cpu_table")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--json", type=pathlib.Path)
    p.add_argument("--markdown", type=pathlib.Path)
    a = p.parse_args()
    a.parts = [part for part in a.only.split(",") if part != "rates"]
    if set(a.parts) - set(PARTS):
        p.error(f"--only: {', '.join(sorted(set(a.parts) - set(PARTS)))} is none of {', '.join(PARTS)}")
    if "training" in a.parts and a.peer_script is None:
        p.error("training needs --peer-script")
    return a


def main():
    a = arguments()
    a.work.mkdir(parents=True, exist_ok=True)
    b = Bench(a)
    b.out["machine"] = machine(b)
    b.out["rates"] = b.run([a.bench_cpu, "rates"], "rates")[0]
    for part in a.parts:
        b.out["parts"][part] = globals()[part](b)
        b.out["table"] = b.lines
        if a.json:  # after each part, so that an interrupted run leaves what it has
            a.json.write_text(json.dumps(b.out, indent=1) + "\n")
    table = markdown(b)
    print(table)
    if a.markdown:
        a.markdown.write_text(table)
    impossible = gate(b)
    if impossible:
        fail("above what the machine can do: " + "; ".join(impossible))


if __name__ == "__main__":
    main()
