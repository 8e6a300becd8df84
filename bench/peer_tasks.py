#!/usr/bin/env python3
"""What transformers, PEFT and bitsandbytes take for the tasks that bench/cpu_table.py gives nibble too, in their own environment.

    python bench/peer_tasks.py generation MODEL --prompt-ids 1,2,3 --new-tokens N [--threads 2]
    python bench/peer_tasks.py merge MODEL ADAPTER OUT [--threads 2]
    python bench/peer_tasks.py rows MODEL ALPACA.jsonl ROWS.jsonl [--max-length 512]
    python bench/peer_tasks.py versions

One JSON object on the last line of stdout; times are wall-clock seconds after the imports.

generation  NF4 with double quantization, bf16 compute, greedy, with the cache of keys and values: tokens/s of the tokens after
            the first, which comes with the prompt.
rows        one row of token ids an example, of whatever length it has; longer ones are left out.
merge       the base in bf16, the adapter on it, merge_and_unload, save_pretrained: each part's time.
"""
import argparse
import json
import pathlib
import sys
import time
import warnings

warnings.filterwarnings("ignore")


def generation(a):
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    torch.set_num_threads(a.threads)
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                      bnb_4bit_compute_dtype=torch.bfloat16)
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(a.model, quantization_config=quantization, dtype=torch.bfloat16, device_map="cpu").eval()
    load_s = time.perf_counter() - start
    ids = torch.tensor([[int(i) for i in a.prompt_ids.split(",")]])

    def run(new_tokens):
        begin = time.perf_counter()
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, min_new_tokens=new_tokens,
                             do_sample=False, use_cache=True, pad_token_id=0)
        return time.perf_counter() - begin, out[0, ids.shape[1]:].tolist()

    with torch.inference_mode():
        run(2)  # warm up
        first_s, _ = run(1)
        all_s, new = run(a.new_tokens)
    return {"tokens_per_s": (a.new_tokens - 1) / max(all_s - first_s, 1e-9), "first_token_s": first_s, "load_s": load_s, "ids": new}


def merge(a):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    marks = [time.perf_counter()]
    base = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.bfloat16)
    marks.append(time.perf_counter())
    model = PeftModel.from_pretrained(base, a.adapter)
    marks.append(time.perf_counter())
    merged = model.merge_and_unload()
    marks.append(time.perf_counter())
    merged.save_pretrained(a.out, safe_serialization=True)
    marks.append(time.perf_counter())
    load_s, adapter_s, merge_s, save_s = (after - before for before, after in zip(marks, marks[1:]))
    return {"load_s": load_s, "adapter_s": adapter_s, "merge_s": merge_s, "save_s": save_s, "total_s": marks[-1] - marks[0]}


PROMPT = ("Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
          "### Instruction:\n{instruction}\n\n### Response:\n")


def rows(a):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(a.model)
    count = tokens = 0
    with open(a.data) as examples, open(a.out, "w") as out:
        for example in map(json.loads, examples):
            ids = tokenizer(PROMPT.format(**example) + example["output"])["input_ids"] + [tokenizer.eos_token_id]
            if len(ids) <= a.max_length:
                out.write(json.dumps({"input_ids": ids}) + "\n")
                count, tokens = count + 1, tokens + len(ids)
    return {"rows": count, "tokens": tokens}


def versions(_):
    import bitsandbytes
    import peft
    import torch
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__,
            "bitsandbytes": bitsandbytes.__version__}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = p.add_subparsers(required=True)
    g = tasks.add_parser("generation")
    g.add_argument("model")
    g.add_argument("--prompt-ids", required=True)
    g.add_argument("--new-tokens", type=int, required=True)
    g.add_argument("--threads", type=int, default=2)
    g.set_defaults(run=generation)
    m = tasks.add_parser("merge")
    m.add_argument("model")
    m.add_argument("adapter")
    m.add_argument("out", type=pathlib.Path)
    m.add_argument("--threads", type=int, default=2)
    m.set_defaults(run=merge)
    r = tasks.add_parser("rows")
    r.add_argument("model")
    r.add_argument("data", type=pathlib.Path)
    r.add_argument("out", type=pathlib.Path)
    r.add_argument("--max-length", type=int, default=512)
    r.set_defaults(run=rows)
    v = tasks.add_parser("versions")
    v.set_defaults(run=versions)
    a = p.parse_args()
    print(json.dumps(a.run(a)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
