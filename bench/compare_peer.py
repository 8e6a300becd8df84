#!/usr/bin/env python3
"""nibble and the Python peer side by side: the same rows, the same starting adapter, the same machine, taking turns.

    bench/compare_peer.py --peer-script PEER.py --model HF_FOLDER --data ALPACA.jsonl \\
        [--nibble build/release/bin/nibble] [--peer-python .deps/peer/bin/python] [--rounds 3] [--steps 20] \\
        [--seq 512] [--batch 2] [--rows ROWS.jsonl] [--threads 2] [--work runs/compare] \\
        [--peer-option=--no-checkpointing] [--bench-cpu build/release/bin/bench_cpu] [--json OUT.json]

The peer (transformers + PEFT + bitsandbytes) makes the rows and the adapter once; then every round runs the peer and
nibble one after the other: NF4 with double quantization, r = 16 on all linear layers, `batch` rows of `seq` tokens a step,
constant learning rate 2e-4, no dropout, no weight decay, gradients clipped at 1. With --rows the rows are those of the file,
of any length up to `seq`: the peer pads a batch to its longest row, and tokens are counted without padding on both sides.
With --bench-cpu, what products and copies reach is measured before each of nibble's runs and goes into the JSON, for shares of it:
a machine that is shared changes from minute to minute. What is compared:

    tokens/s       median step, as each reports it         (nibble / peer, higher is better)
    peak memory    the process's peak resident set         (nibble / peer, lower is better)
    first step     from process start to the end of step 1 (nibble / peer, lower is better)
    losses         10-step averages must agree within 2 %, and every single step within 5 %

Prints a table of medians over the rounds and their ratios; exits with 1 if the losses disagree. Python's standard
library only; the peer runs in its own environment.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from peer_environment import peer_environment

AVERAGED_STEPS = 10
AVERAGE_BOUND = 0.02
STEP_BOUND = 0.05  # one step's loss is noisier than ten; beyond this the two do different work
FIGURES = (("tokens_per_s", "tokens/s", "{:.1f}"), ("peak_rss_mib", "peak memory [MiB]", "{:.0f}"),
           ("first_step_s", "first step [s]", "{:.2f}"), ("load_s", "load [s]", "{:.2f}"))


def run(command, environment, log):
    with open(log, "w") as diagnostics:
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=diagnostics, text=True,
                              stdin=subprocess.DEVNULL, env=environment)
    if done.returncode != 0:
        tail = pathlib.Path(log).read_text()[-3000:]
        sys.exit(f"{' '.join(map(str, command))}\nexit code {done.returncode}; the end of {log}:\n{tail}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def make_rows(command, environment, log, done):
    """Lets the peer write its adapter and its rows, in that order, and stops it before it trains on them: when done() says so."""
    with open(log, "w") as diagnostics:
        peer = subprocess.Popen([str(c) for c in command], stdout=diagnostics, stderr=diagnostics,
                                stdin=subprocess.DEVNULL, env=environment)
    while not done():
        if peer.poll() is not None:
            sys.exit(f"{' '.join(map(str, command))}\nexit code {peer.returncode} before the rows were written; see {log}")
        time.sleep(0.2)
    peer.terminate()
    peer.wait()


def whole_adapter(folder):
    """Whether an adapter's file is there with all the bytes that its header speaks of."""
    try:
        with open(folder / "adapter_model.safetensors", "rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_bytes))
            end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
            return (folder / "adapter_config.json").is_file() and file.seek(0, os.SEEK_END) == 8 + header_bytes + end
    except (OSError, ValueError):
        return False


def peer_command(a, steps):
    return [a.peer_python, "-W", "ignore", a.peer_script, "--model", a.model, "--seq", a.seq,
            "--batch", a.batch, "--rank", 16, "--lr", 2e-4, "--threads", a.threads, "--steps", steps]


def nibble_config(a, rows, adapter, output):
    settings = {
        "model_name_or_path": str(a.model.resolve()), "adapter_name_or_path": str(adapter.resolve()),
        "train_file": str(rows.resolve()), "output_dir": str(output.resolve()),
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target_modules": "all-linear",
        "max_length": a.seq, "packing": False, "shuffle": False,
        "per_device_train_batch_size": a.batch, "gradient_accumulation_steps": 1, "max_steps": a.steps,
        "learning_rate": 2e-4, "lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": 0.0,
        "max_grad_norm": 1.0, "optim": "adamw_torch", "logging_steps": 1, "seed": 0,
    }
    # JSON's scalars are YAML's.
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def losses_of_run(output):
    with open(output / "metrics.jsonl") as lines:
        return [row["loss"] for row in map(json.loads, lines) if row.get("loss") is not None]


def disagreements(ours, theirs):
    if len(ours) != len(theirs):
        return [f"nibble logged {len(ours)} losses, the peer {len(theirs)}"]
    found = []
    for step, (x, y) in enumerate(zip(ours, theirs), 1):
        if not abs(x - y) <= STEP_BOUND * abs(y):
            found.append(f"step {step}: loss {x:.4f}, the peer's {y:.4f}")
    for start in range(0, len(ours), AVERAGED_STEPS):
        x, y = (statistics.fmean(v[start:start + AVERAGED_STEPS]) for v in (ours, theirs))
        if not abs(x - y) <= AVERAGE_BOUND * abs(y):
            found.append(f"steps {start + 1}..{min(start + AVERAGED_STEPS, len(ours))}: mean {x:.4f}, the peer's {y:.4f}")
    return found


def arguments():
    root = pathlib.Path(__file__).resolve().parent.parent
    deps = pathlib.Path(os.environ.get("NIBBLE_DEPS", root / ".deps"))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer-script", type=pathlib.Path, required=True)
    p.add_argument("--model", type=pathlib.Path, required=True, help="Hugging Face folder")
    p.add_argument("--data", type=pathlib.Path, help="alpaca-schema JSONL; not read with --rows")
    p.add_argument("--rows", type=pathlib.Path, help="tokenized rows, at least steps x batch")
    p.add_argument("--seq", type=int, default=512, help="tokens of a row, with --rows of the longest")
    p.add_argument("--batch", type=int, default=2, help="rows of a step")
    p.add_argument("--nibble", type=pathlib.Path, default=root / "build/release/bin/nibble")
    p.add_argument("--peer-python", type=pathlib.Path, default=deps / "peer/bin/python")
    p.add_argument("--peer-option", action="append", default=[], help="passed on to the peer, may be repeated")
    p.add_argument("--bench-cpu", type=pathlib.Path, help="measure the machine's rates before and after each of nibble's runs")
    p.add_argument("--work", type=pathlib.Path, default=root / "runs/compare")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--json", type=pathlib.Path)
    a = p.parse_args()
    if not a.data and not a.rows:
        p.error("name the rows' source with --data, or ready rows with --rows")
    return a


def main():
    a = arguments()
    shutil.rmtree(a.work, ignore_errors=True)
    a.work.mkdir(parents=True)
    rows, adapter = a.work / "rows.jsonl", a.work / "init_adapter"
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1")
    of_peer = peer_environment(a.peer_python, environment)
    print("making the rows and the adapter", file=sys.stderr, flush=True)
    count = a.batch * a.steps
    if a.rows:
        # Rows beyond the first epoch would be shared out in another order.
        lines = a.rows.read_text().splitlines()[:count]
        if len(lines) < count:
            sys.exit(f"{a.rows} has {len(lines)} rows; {a.steps} steps of {a.batch} take {count}")
        rows.write_text("".join(line + "\n" for line in lines))
        # The peer trains while we wait for the adapter that it writes before its first step.
        make_rows([*peer_command(a, a.steps), "--rows", rows, "--save-init", adapter], of_peer, a.work / "prepare.log",
                  lambda: whole_adapter(adapter))
    else:
        make_rows([*peer_command(a, a.steps), "--data", a.data, "--write-rows", rows, "--save-init", adapter], of_peer,
                  a.work / "prepare.log", lambda: rows.is_file() and rows.read_bytes().count(b"\n") == count)

    results = {"peer": [], "nibble": [], "rates": []}
    findings = []
    for round_number in range(1, a.rounds + 1):
        print(f"round {round_number} of {a.rounds}", file=sys.stderr, flush=True)
        peer = run([*peer_command(a, a.steps), "--rows", rows, "--init-adapter", adapter, *a.peer_option],
                   of_peer, a.work / f"peer_{round_number}.log")
        output = a.work / f"nibble_{round_number}"
        config = a.work / f"nibble_{round_number}.yaml"
        config.write_text(nibble_config(a, rows, adapter, output))
        rates = []
        if a.bench_cpu:
            rates.append(run([a.bench_cpu, "rates"], environment, a.work / f"rates_before_{round_number}.log"))
        ours = run([a.nibble, "train", config, "--json"], environment, a.work / f"nibble_{round_number}.log")
        if a.bench_cpu:
            rates.append(run([a.bench_cpu, "rates"], environment, a.work / f"rates_after_{round_number}.log"))
        results["rates"].append(rates)
        ours["loss"] = losses_of_run(output)
        del ours["output_dir"]  # of this machine only
        findings += [f"round {round_number}: {text}" for text in disagreements(ours["loss"], peer["loss"])]
        results["peer"].append(peer)
        results["nibble"].append(ours)

    table = {}
    print(f"{'median of ' + str(a.rounds):20} {'peer':>10} {'nibble':>10} {'ratio':>8}")
    for key, title, form in FIGURES:
        peer, ours = (statistics.median(r[key] for r in results[side]) for side in ("peer", "nibble"))
        ratio = ours / peer if peer else float("nan")
        table[key] = {"peer": peer, "nibble": ours, "ratio": ratio}
        print(f"{title:20} {form.format(peer):>10} {form.format(ours):>10} {ratio:8.3f}")
    last = statistics.fmean(results["nibble"][-1]["loss"][-AVERAGED_STEPS:])
    peer_last = statistics.fmean(results["peer"][-1]["loss"][-AVERAGED_STEPS:])
    print(f"{'loss, last steps':20} {peer_last:10.4f} {last:10.4f} {last / peer_last:8.3f}")
    print("\n".join(findings) or "losses agree at every step")
    if a.json:
        a.json.write_text(json.dumps({"steps": a.steps, "seq": a.seq, "batch": a.batch, "threads": a.threads, "peer_options": a.peer_option,
                                      "peer_isa_limit": of_peer.get("ONEDNN_MAX_CPU_ISA"),
                                      "median": table, "rounds": results, "disagreements": findings}, indent=1) + "\n")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
