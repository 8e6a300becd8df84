#!/usr/bin/env python3
"""What a streamed base costs: the same run with the base resident and streamed from its packed cache, taking turns.

    bench/streamed_slowdown.py [--model FOLDER] [--shape tinyllama-1.1b] [--layers N] [--nibble build/release/bin/nibble]
        [--work runs/streamed] [--rounds 3] [--steps 3] [--tokens 512] [--limit-mib N] [--set KEY=VALUE ...] [--json OUT.json]

Without --model it makes a random one of the shape (bench/make_random_model.py). Both runs train the same rows from the same
adapter. The losses must be the same to the last digit, or it exits with 1. Medians over the rounds:

    tokens/s     median step
    first step   from process start to the end of step 1
    load         the base, until the first step can begin
    peak memory  the process's resident set at its highest

--limit-mib N: the streamed run may use so much private memory (RLIMIT_DATA), which shows that it holds no copy of the
base: a resident run is tried under the same limit and must fail. Linux; Python's standard library only.
"""
import argparse
import json
import pathlib
import random
import resource
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FIGURES = (("tokens_per_s", "tokens/s", "{:.2f}"), ("first_step_s", "first step [s]", "{:.2f}"), ("load_s", "load [s]", "{:.2f}"),
           ("peak_rss_mib", "peak memory [MiB]", "{:.0f}"))


def make_rows(path, rows, tokens):
    """Rows of random bytes, as tokens of the tokenizer that make_random_model.py writes and of any larger one."""
    draw = random.Random(0)
    with open(path, "w") as out:
        for _ in range(rows):
            out.write(json.dumps({"input_ids": [draw.randrange(3, 259) for _ in range(tokens)]}) + "\n")


def configuration(args, model, rows, folder, residency):
    keys = {"model_name_or_path": str(model), "train_file": str(rows), "output_dir": str(folder), "base_residency": residency,
            "packed_cache": "true" if residency == "streamed" else "false", "packed_cache_dir": str(args.work / "cache"),
            "max_length": args.tokens, "packing": False, "shuffle": False, "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1, "max_steps": args.steps, "lr_scheduler_type": "constant", "save_steps": 0}
    path = args.work / f"{residency}.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items()))
    return path


def train(args, config, folder, limit_mib=0):
    """The result of one run and its losses, or (None, why) where it failed."""
    subprocess.run(["rm", "-rf", folder], check=True)

    def limit():
        if limit_mib:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mib << 20, limit_mib << 20))

    words = [word for pair in args.set for word in ("--set", pair)]
    done = subprocess.run([args.nibble, "train", config, "--json", *words], capture_output=True, text=True, preexec_fn=limit)
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[-1]
    losses = [json.loads(line)["loss"] for line in open(folder / "metrics.jsonl")]
    return json.loads(done.stdout.strip().splitlines()[-1]), losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--shape", default="tinyllama-1.1b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--nibble", type=pathlib.Path, default=pathlib.Path("build/release/bin/nibble"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("runs/streamed"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--limit-mib", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of both runs' configurations")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    args.nibble, args.work = args.nibble.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    model = args.model.resolve() if args.model else args.work / (f"{args.shape}-{args.layers}" if args.layers else args.shape)
    if not model.is_dir():
        layers = ["--layers", str(args.layers)] if args.layers else []
        subprocess.run([sys.executable, HERE / "make_random_model.py", args.shape, model, *layers], check=True)
    rows = args.work / "rows.jsonl"
    make_rows(rows, args.steps, args.tokens)

    folders = {name: args.work / f"run-{name}" for name in ("resident", "streamed")}
    configs = {name: configuration(args, model, rows, folder, name) for name, folder in folders.items()}
    results, losses = {name: [] for name in folders}, {}
    # The first streamed run makes the cache; it is not counted.
    made, why = train(args, configs["streamed"], folders["streamed"])
    if made is None:
        sys.exit(f"the streamed run failed: {why}")
    for round_number in range(args.rounds):
        for name in folders:
            limit = args.limit_mib if name == "streamed" else 0
            result, outcome = train(args, configs[name], folders[name], limit)
            if result is None:
                sys.exit(f"the {name} run failed: {outcome}")
            results[name].append(result)
            if losses.setdefault(name, outcome) != outcome:
                sys.exit(f"round {round_number + 1}: the {name} run has other losses than before: {outcome}, {losses[name]}")
    if losses["resident"] != losses["streamed"]:
        sys.exit(f"the losses differ:\n  resident {losses['resident']}\n  streamed {losses['streamed']}")

    report = {"model": model.name, "tokens": args.tokens, "steps": args.steps, "rounds": args.rounds, "losses": losses["streamed"],
              "limit_mib": args.limit_mib, "set": args.set, "cache_bytes": sum(f.stat().st_size for f in (args.work / "cache").glob("*.safetensors"))}
    print(f"{model.name}, {args.tokens} tokens a step, {args.rounds} rounds; losses are equal to the last digit")
    print(f"{'':20}{'resident':>12}{'streamed':>12}{'ratio':>8}")
    for key, text, form in FIGURES:
        middle = {name: statistics.median(r[key] for r in results[name]) for name in folders}
        report[key] = middle
        print(f"{text:20}{form.format(middle['resident']):>12}{form.format(middle['streamed']):>12}{middle['streamed'] / middle['resident']:>8.3f}")
    if args.limit_mib:
        result, why = train(args, configs["resident"], folders["resident"], args.limit_mib)
        report["resident_under_limit"] = why if result is None else "it ran"
        print(f"under {args.limit_mib} MiB of private memory the resident run {'fails: ' + str(why)[:100] if result is None else 'runs, too'}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
