"""Models small enough to make in a second, with random weights, written by the engine environment's python.

As a script, run by that python: `python -I tiny_models.py exaone4|gguf TARGET`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

CONTROL = (
    "[PAD]",
    "[BOS]",
    "[EOS]",
    "[UNK]",
    "[|system|]",
    "[|user|]",
    "[|assistant|]",
    "[|tool|]",
    "[|endofturn|]",
)
TAGS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_result>",
    "</tool_result>",
    "<tool>",
    "</tool>",
)
CONTEXT = 2048
ROWS = 320


def write_tiny_exaone4(folder: Path, python: Path) -> None:
    """A folder for vLLM: two layers, one with a sliding window; bytes and EXAONE 4.0's control tokens."""
    subprocess.run([str(python), "-I", __file__, "exaone4", str(folder)], check=True)


def write_tiny_gguf(file: Path, python: Path) -> None:
    """A Qwen2-shaped GGUF file of the kind the converter reads, its vocabulary padded with [PADn] names."""
    subprocess.run([str(python), "-I", __file__, "gguf", str(file)], check=True)


def _alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _exaone4(folder: Path) -> None:
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import Exaone4Config, Exaone4ForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(_alphabet())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in TAGS])
    ends = {"bos_token": "[BOS]", "eos_token": "[|endofturn|]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)
    torch.manual_seed(0)
    config = Exaone4Config(
        vocab_size=ROWS,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        sliding_window=256,
        sliding_window_pattern="LG",
        layer_types=["sliding_attention", "full_attention"],
        bos_token_id=tokenizer.token_to_id("[BOS]"),
        eos_token_id=tokenizer.token_to_id("[|endofturn|]"),
        pad_token_id=tokenizer.token_to_id("[PAD]"),
        tie_word_embeddings=False,
    )
    Exaone4ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def _gguf(file: Path) -> None:
    import gguf
    import numpy as np

    width, inner, heads, kv_heads = 64, 128, 2, 1
    letters = _alphabet()
    names = [*letters, "ab", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
    kinds = [1] * 257 + [3] * 5
    kinds += [5] * (ROWS - len(names))
    names += [f"[PAD{i}]" for i in range(len(names), ROWS)]
    writer = gguf.GGUFWriter(str(file), "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(259)
    writer.add_pad_token_id(257)
    random = np.random.default_rng(0)

    def put(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.1, shape).astype(np.float32))

    put("token_embd.weight", ROWS, width)
    put("output.weight", ROWS, width)
    put("output_norm.weight", width)
    key = width // heads * kv_heads
    for block in ("blk.0.", "blk.1."):
        for name, shape in _block_shapes(width, inner, key):
            put(block + name, *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _block_shapes(width: int, inner: int, key: int) -> list[tuple[str, tuple[int, ...]]]:
    return [
        ("attn_norm.weight", (width,)),
        ("ffn_norm.weight", (width,)),
        ("attn_q.weight", (width, width)),
        ("attn_q.bias", (width,)),
        ("attn_k.weight", (key, width)),
        ("attn_k.bias", (key,)),
        ("attn_v.weight", (key, width)),
        ("attn_v.bias", (key,)),
        ("attn_output.weight", (width, width)),
        ("ffn_gate.weight", (inner, width)),
        ("ffn_up.weight", (inner, width)),
        ("ffn_down.weight", (width, inner)),
    ]


if __name__ == "__main__":
    writers: dict[str, Any] = {"exaone4": _exaone4, "gguf": _gguf}
    writers[sys.argv[1]](Path(sys.argv[2]))
