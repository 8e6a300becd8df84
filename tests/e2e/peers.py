"""What the peers say about a model: the loss of a text by nibble's protocol, and greedy continuations with margins."""
import json
import os
import subprocess
import sys

NIBBLE_ENVIRONMENT = dict(os.environ)
# Before torch is imported: it dies of SIGILL where a hypervisor announces AMX without its palettes. nibble finds its own way.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402


def run_nibble(binary, *arguments):
    """Runs a verb with --json and returns its object; a failure shows the diagnostics and ends the check."""
    command = [binary, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=NIBBLE_ENVIRONMENT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def load(folder, dtype):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def ids_of(folder, text):
    """The text's ids without BOS, as nibble's eval --text takes them."""
    return AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def text_nll(model, ids, window):
    """(sum of negative log-likelihoods in nats, tokens scored): windows on their own, the first token of each not scored."""
    total, scored = 0.0, 0
    for start in range(0, len(ids), window):
        part = torch.tensor([ids[start:start + window]])
        if part.shape[1] < 2:
            continue
        logits = model(input_ids=part).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(logits, part[0, 1:], reduction="sum").item()
        scored += part.shape[1] - 1
    return total, scored


@torch.no_grad()
def greedy(model, ids, count, stops):
    """[(id, margin)]: the likeliest tokens one by one, and how far the second-best logit was; ends with a stop id."""
    sequence, out = list(ids), []
    for _ in range(count):
        values, indices = torch.topk(model(input_ids=torch.tensor([sequence])).logits[0, -1].float(), 2)
        token = int(indices[0])
        out.append((token, float(values[0] - values[1])))
        sequence.append(token)
        if token in stops:
            break
    return out
