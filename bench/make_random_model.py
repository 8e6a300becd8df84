#!/usr/bin/env python3
"""A model folder of a real model's shape with random bf16 weights: for speed and memory, where no real weights are at hand.

    bench/make_random_model.py SHAPE_OR_CONFIG OUT [--layers N] [--seed N] [--max-shard-gib 5] [--sparse] [--tokenizer FOLDER]

SHAPE_OR_CONFIG is a name of the list below or a Hugging Face config.json (bf16 dense Llama, Mistral, Qwen2 or Qwen3).
OUT gets config.json, model*.safetensors (with an index where there are several), and a tokenizer: a copy of FOLDER's
files, or a byte-level one of 259 tokens, so that any text is rows for it.

Weights are normal with the configuration's initializer_range, cut from one pool of random values at random places: the
same bytes for a seed on every machine, at the disk's speed. --sparse writes headers and holes only (all weights read as
zero, no disk space): for `nibble plan`, which reads nothing else. Python's standard library only.
"""
import argparse
import array
import json
import math
import pathlib
import random
import shutil
import struct
import sys

GIB = 1 << 30
POOL_VALUES = 1 << 20
PIECE_VALUES = 1 << 17
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja")
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def llama(hidden, intermediate, layers, heads, kv_heads, vocab, positions, *, theta=10000.0, family="llama", tied=False,
          bias=False, head_dim=None):
    architectures = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    config = {"architectures": [architectures[family]], "model_type": family, "torch_dtype": "bfloat16",
              "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
              "max_position_embeddings": positions, "rope_theta": theta, "rms_norm_eps": 1e-05, "hidden_act": "silu",
              "initializer_range": 0.02, "tie_word_embeddings": tied, "attention_bias": bias}
    if head_dim:
        config["head_dim"] = head_dim
    return config


# The sizes in these models' own config.json on the Hugging Face Hub.
SHAPES = {
    "smollm2-135m": llama(576, 1536, 30, 9, 3, 49152, 8192, theta=100000.0, tied=True),
    "tinyllama-1.1b": llama(2048, 5632, 22, 32, 4, 32000, 2048),
    "llama3.2-3b": llama(3072, 8192, 28, 24, 8, 128256, 131072, theta=500000.0, tied=True, head_dim=128),
    "llama-7b": llama(4096, 11008, 32, 32, 32, 32000, 4096),
    "llama3.1-8b": llama(4096, 14336, 32, 32, 8, 128256, 131072, theta=500000.0),
    "llama-13b": llama(5120, 13824, 40, 40, 40, 32000, 4096),
    "qwen2.5-14b": llama(5120, 13824, 48, 40, 8, 152064, 131072, theta=1000000.0, family="qwen2"),
    "qwen2.5-32b": llama(5120, 27648, 64, 40, 8, 152064, 131072, theta=1000000.0, family="qwen2"),
    "llama-33b": llama(6656, 17920, 60, 52, 52, 32000, 2048),
    "llama3.1-70b": llama(8192, 28672, 80, 64, 8, 128256, 131072, theta=500000.0),
}


def tensors_of(config):
    """(name, shape, kind) of every weight, in the order in which loading wants them."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    q_width, kv_width = heads * head_dim, config.get("num_key_value_heads", heads) * head_dim
    mlp, family = config["intermediate_size"], config["model_type"]
    qkv_bias = family == "qwen2" or config.get("attention_bias", False)
    o_bias = family != "qwen2" and config.get("attention_bias", False)
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden), "normal"
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,), "one"
        for name, out, bias in (("q", q_width, qkv_bias), ("k", kv_width, qkv_bias), ("v", kv_width, qkv_bias)):
            yield f"{prefix}self_attn.{name}_proj.weight", (out, hidden), "normal"
            if bias:
                yield f"{prefix}self_attn.{name}_proj.bias", (out,), "normal"
        if family == "qwen3":
            yield prefix + "self_attn.q_norm.weight", (head_dim,), "one"
            yield prefix + "self_attn.k_norm.weight", (head_dim,), "one"
        yield prefix + "self_attn.o_proj.weight", (hidden, q_width), "normal"
        if o_bias:
            yield prefix + "self_attn.o_proj.bias", (hidden,), "normal"
        yield prefix + "post_attention_layernorm.weight", (hidden,), "one"
        yield prefix + "mlp.gate_proj.weight", (mlp, hidden), "normal"
        yield prefix + "mlp.up_proj.weight", (mlp, hidden), "normal"
        yield prefix + "mlp.down_proj.weight", (hidden, mlp), "normal"
    yield "model.norm.weight", (hidden,), "one"
    if not config.get("tie_word_embeddings", False):
        yield "lm_head.weight", (config["vocab_size"], hidden), "normal"


def bf16_bytes(values):
    """float32 values rounded to bf16, little-endian."""
    bits = array.array("I", array.array("f", values).tobytes())
    halves = array.array("H", (((b + 0x7FFF + ((b >> 16) & 1)) >> 16) & 0xFFFF for b in bits))
    if sys.byteorder == "big":
        halves.byteswap()
    return halves.tobytes()


class Weights:
    """Pieces of random values; the same for a seed and a sequence of calls."""

    def __init__(self, scale, seed):
        draw = random.Random(seed)
        self.pool = memoryview(bf16_bytes(draw.gauss(0.0, scale) for _ in range(POOL_VALUES)))
        self.one = memoryview(bf16_bytes([1.0]) * PIECE_VALUES)
        self.place = random.Random(seed + 1)

    def pieces(self, values, kind):
        while values > 0:
            n = min(values, PIECE_VALUES)
            begin = 0 if kind == "one" else self.place.randrange(POOL_VALUES - n + 1)
            yield (self.one if kind == "one" else self.pool)[2 * begin:2 * (begin + n)]
            values -= n


def split_into_shards(tensors, limit_bytes):
    shards, used = [[]], 0
    for tensor in tensors:
        size = 2 * math.prod(tensor[1])
        if shards[-1] and used + size > limit_bytes:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += size
    return shards


def write_shard(path, tensors, weights):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in tensors:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb", buffering=0) as out:
        out.write(struct.pack("<Q", len(text)) + text)
        if weights is None:
            out.truncate(8 + len(text) + end)
            return end
        for _, shape, kind in tensors:
            for piece in weights.pieces(math.prod(shape), kind):
                while piece:
                    piece = piece[out.write(piece):]
    return end


def byte_level_alphabet():
    """GPT-2's printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = {b: chr(b) for b in printable}, 0
    for b in range(256):
        if b not in names:
            names[b] = chr(256 + extra)
            extra += 1
    return [names[b] for b in range(256)]


def write_byte_tokenizer(folder):
    tokens = list(SPECIAL_TOKENS) + byte_level_alphabet()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                          "special": True} for i, t in enumerate(SPECIAL_TOKENS)],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "</s>", "model_max_length": 1 << 20}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def read_shape(text):
    if text in SHAPES:
        return dict(SHAPES[text])
    path = pathlib.Path(text)
    if not path.is_file():
        sys.exit(f"'{text}' is no file and none of the known shapes: {', '.join(SHAPES)}")
    config = json.loads(path.read_text())
    if config.get("model_type") not in ("llama", "mistral", "qwen2", "qwen3"):
        sys.exit(f"{path}: model_type {config.get('model_type')!r} is not one of llama, mistral, qwen2, qwen3")
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", metavar="SHAPE_OR_CONFIG", help=", ".join(SHAPES))
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", type=int, help="this many layers instead of the shape's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-shard-gib", type=float, default=5.0)
    parser.add_argument("--sparse", action="store_true", help="headers and holes only")
    parser.add_argument("--tokenizer", type=pathlib.Path, help="a folder whose tokenizer is copied")
    args = parser.parse_args()
    config = read_shape(args.shape)
    if args.layers:
        config["num_hidden_layers"] = args.layers
    config |= {"bos_token_id": 1, "eos_token_id": 2} if args.tokenizer is None else {}
    args.out.mkdir(parents=True, exist_ok=True)
    if any(args.out.glob("*.safetensors")):
        sys.exit(f"{args.out} already has weights; remove them or name another folder")

    weights = None if args.sparse else Weights(config.get("initializer_range", 0.02), args.seed)
    shards = split_into_shards(list(tensors_of(config)), int(args.max_shard_gib * GIB))
    total, weight_map = 0, {}
    for i, tensors in enumerate(shards):
        name = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        total += write_shard(args.out / name, tensors, weights)
        weight_map |= {tensor[0]: name for tensor in tensors}
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (args.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    if args.tokenizer is None:
        write_byte_tokenizer(args.out)
    else:
        for name in TOKENIZER_FILES:
            if (args.tokenizer / name).is_file():
                shutil.copy(args.tokenizer / name, args.out / name)
    (args.out / "config.json").write_text(json.dumps(config, indent=1))
    print(f"{args.out}: {total / 2e9:.2f}B parameters in {len(shards)} file{'s' if len(shards) > 1 else ''}, {total / GIB:.2f} GiB"
          f"{', sparse' if args.sparse else ''}")


if __name__ == "__main__":
    main()
