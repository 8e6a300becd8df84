#!/usr/bin/env python3
"""Trains a few steps with nibble, exports, and lets PEFT and transformers read the result.

    check_export.py --nibble BINARY --model HF_FOLDER --data configs/demo --base dense|nf4 --work DIR

dense (a base that is not quantized): PEFT puts the exported adapter on the same base; the merged folder opens in
transformers; both must give nibble's own loss on a text and its greedy continuations.
nf4: the merged folder holds the dequantized base plus the adapter, so transformers on it must give the loss that nibble
gives with the 4-bit base and the adapter apart, up to rounding the sum to bf16.
"""
import argparse
import json
import math
import pathlib
import shutil
import sys

from peers import greedy, ids_of, load, run_nibble, text_nll  # before torch, for its environment

import torch
from peft import PeftModel

WINDOW = 256
PROMPTS = ["The capital of France is", "Why do stars twinkle?", "Water boils when"]
NEW_TOKENS = 16

# (b) two fp32 implementations: some 200 layers of roundings at 2^-24 relative, in sums that partly cancel.
FP32_NLL = 1e-4
# (c) bf16: at most twice the peer's own distance from fp32, or this where the peer happens to be lucky. Measured over both models
# here and windows of 128 to 512: 3.6e-4 to 1.1e-3 by AVX512_BF16's kernels, 5.4e-4 to 1.6e-3 by AMX's.
BF16_FLOOR = 2e-3
# (c) a margin below this may be decided by the order of a summation in fp32.
FP32_MARGIN = 1e-2
# (c) merging rounds every weight once to bf16 (2^-9 relative), as the base's own rounding did.
# The merged weights are rounded to bf16 once more, which loses the smallest updates: measured 2.1e-3 on this run.
MERGED_NLL = 5e-3


class Findings:
    def __init__(self):
        self.failures = []

    def close(self, what, found, expected, bound):
        gap = abs(found - expected) / abs(expected)
        verdict = "ok" if math.isfinite(found) and gap <= bound else "FAILED"
        print(f"{verdict:6} {what}: nibble {found:.4f}, peer {expected:.4f}, relative gap {gap:.2e} (bound {bound:.1e})")
        if verdict != "ok":
            self.failures.append(what)

    def same_tokens(self, what, found, expected):
        """found: ids; expected: (id, margin). Compared up to the first choice that was too close to call."""
        for at, (token, margin) in enumerate(expected):
            if margin < FP32_MARGIN:
                break
            if at >= len(found) or found[at] != token:
                print(f"FAILED {what}: token {at} is {found[at:at + 1]}, the peer's {token} (margin {margin:.3f})")
                self.failures.append(what)
                return
        print(f"ok     {what}: {len(expected)} tokens")


def write_config(path, arguments):
    dense = arguments.base == "dense"
    settings = {
        "model_name_or_path": str(arguments.model.resolve()),
        "train_file": str((arguments.data / "house_style.jsonl").resolve()),
        "output_dir": str((arguments.work / "run").resolve()),
        "load_in_4bit": not dense,
        "lora_r": 8, "lora_alpha": 16, "learning_rate": 1e-3, "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "max_length": WINDOW, "packing": True,
        "max_steps": 6, "logging_steps": 1, "seed": 7,
    }
    # JSON's scalars are YAML's.
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))


def main():
    parser = argparse.ArgumentParser()
    for name in ("--nibble", "--base"):
        parser.add_argument(name, required=True)
    for name in ("--model", "--data", "--work"):
        parser.add_argument(name, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)

    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    run, adapter, merged = (arguments.work / name for name in ("run", "adapter", "merged"))
    text = arguments.work / "held_out.txt"
    rows = map(json.loads, (arguments.data / "held_out.jsonl").read_text().splitlines())
    text.write_text("\n".join(f"{row['instruction']}\n{row['output']}\n" for row in rows))
    write_config(arguments.work / "config.yaml", arguments)

    trained = run_nibble(arguments.nibble, "train", arguments.work / "config.yaml")
    if trained["global_step"] != 6:
        sys.exit(f"the run ended at step {trained['global_step']}, not 6")
    run_nibble(arguments.nibble, "export", run, adapter, "--format", "adapter")
    run_nibble(arguments.nibble, "export", run, merged, "--format", "merged")

    findings = Findings()
    ids = ids_of(arguments.model, text.read_text())
    window = ("--set", f"max_length={WINDOW}")
    fp32 = ("--set", "bnb_4bit_compute_dtype=float32")
    dense = ("--set", "load_in_4bit=false")

    def nibble_nll(source, *settings):
        result = run_nibble(arguments.nibble, "eval", source, "--text", text, *window, *settings)
        expected = len(ids) - -(-len(ids) // WINDOW)  # each window's first token is not scored
        if result["tokens"] != expected:
            sys.exit(f"nibble scored {result['tokens']} tokens of {text.name}, the protocol {expected}")
        return result["nll"]

    # The merged folder, computed in fp32 by both: the same weights, so the same numbers.
    model = load(merged, torch.float32)
    merged_nll, _ = text_nll(model, ids, WINDOW)
    findings.close("merged folder, fp32", nibble_nll(merged, *dense, *fp32), merged_nll, FP32_NLL)
    for prompt in PROMPTS:
        result = run_nibble(arguments.nibble, "generate", merged, "--prompt", prompt, "--max-new-tokens", NEW_TOKENS,
                            "--temperature", 0, *dense, *fp32)
        findings.same_tokens(f"greedy after '{prompt}'", result["ids"],
                             greedy(model, ids_of(merged, prompt), NEW_TOKENS, {2}))
    peer_bf16, _ = text_nll(load(merged, torch.bfloat16), ids, WINDOW)
    bound = max(2 * abs(peer_bf16 - merged_nll) / merged_nll, BF16_FLOOR)
    findings.close("merged folder, bf16 against fp32", nibble_nll(merged, *dense), merged_nll, bound)

    if arguments.base == "dense":
        model = PeftModel.from_pretrained(load(arguments.model, torch.float32), str(adapter)).eval()
        adapter_nll, _ = text_nll(model, ids, WINDOW)
        findings.close("adapter in PEFT, fp32", nibble_nll(adapter, *dense, *fp32), adapter_nll, FP32_NLL)
        plain, _ = text_nll(load(arguments.model, torch.float32), ids, WINDOW)
        if abs(plain - adapter_nll) < 1e-3 * plain:
            findings.failures.append("the adapter changes nothing")
    # Against the run itself: adapter apart from its base, NF4 or not.
    findings.close("the run against its merged folder", nibble_nll(run, *fp32), merged_nll, MERGED_NLL)

    if findings.failures:
        sys.exit(f"{len(findings.failures)} failed: {', '.join(findings.failures)}")


if __name__ == "__main__":
    main()
