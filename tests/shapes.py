"""Files with the header of a real model and holes for weights: what llama.cpp accounts for.

    path = shapes.write(tmp_path, "llama-1b")     # 0.2 MB on disk, 0.8 GB by its size

With `no_alloc` llama.cpp reads the header, builds its graphs and says what it would allocate. The
numbers are those of the published models; where these are larger than a few gigabytes, with fewer
layers or experts. Tensors are in Q8_0, vocabularies a number without tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np

_F32, _Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0
_ALIGNMENT = 32


class Shape(NamedTuple):
    """A model's sizes; `more` are further keys, under the architecture's name."""

    arch: str
    blocks: int
    width: int
    heads: int
    kv_heads: int
    head: int
    feed_forward: int
    vocabulary: int
    tied: bool = True
    experts: int = 0
    used: int = 0
    expert_ff: int = 0
    more: dict[str, Any] = {}  # noqa: RUF012 - never written to


_MLA = {
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "attention.kv_lora_rank": 512,
    "rope.dimension_count": 64,
    "expert_shared_count": 2,
    "leading_dense_block_count": 1,
}
_MAMBA2 = {"ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 1}
_GRANITE = [4 if block % 10 == 5 else 0 for block in range(10)]
_LFM2 = [8 if block in (2, 5, 8, 10, 12, 14) else 0 for block in range(16)]

SHAPES = {
    "tinyllama-1.1b": Shape("llama", 22, 2048, 32, 4, 64, 5632, 32_000, tied=False),
    "llama-1b": Shape("llama", 16, 2048, 32, 8, 64, 8192, 128_256),
    "mixtral": Shape("llama", 2, 4096, 32, 8, 128, 14336, 32_000, False, 8, 2),
    "ministral-3b": Shape("mistral3", 26, 3072, 32, 8, 128, 9216, 131_072),
    "grok": Shape("grok", 4, 2048, 16, 2, 128, 8192, 131_072, False, 8, 2, 4096),
    "qwen2-0.5b": Shape("qwen2", 24, 896, 14, 2, 64, 4864, 151_936),
    "qwen2-1.5b": Shape("qwen2", 28, 1536, 12, 2, 128, 8960, 151_936),
    "qwen3-0.6b": Shape("qwen3", 28, 1024, 16, 8, 128, 3072, 151_936),
    "qwen3-moe": Shape("qwen3moe", 3, 2048, 32, 4, 128, 6144, 151_936, False, 128, 8, 768),
    "gpt-oss": Shape(
        "gpt-oss", 2, 2880, 64, 8, 64, 2880, 201_088, False, 32, 4, 2880,
        {"attention.sliding_window": 128},
    ),
    "gemma3-1b": Shape(
        "gemma3", 26, 1152, 4, 1, 256, 6912, 262_144, more={"attention.sliding_window": 512}
    ),
    "gemma3-windows": Shape(  # without the sixth layer, which sees everything
        "gemma3", 5, 640, 4, 1, 256, 2048, 262_144, more={"attention.sliding_window": 512}
    ),
    "phi3-mini": Shape(
        "phi3", 8, 3072, 32, 32, 96, 8192, 32_064, False, more={"attention.sliding_window": 2047}
    ),
    "phi4-mini": Shape("phi3", 8, 3072, 24, 8, 128, 8192, 200_064),
    "deepseek2-lite": Shape(
        "deepseek2", 27, 2048, 16, 1, 192, 10944, 102_400, False, 8, 6, 1408, _MLA
    ),
    "smollm3-3b": Shape("smollm3", 36, 2048, 16, 4, 128, 11008, 128_256),
    "mamba2-1.3b": Shape(
        "mamba2", 8, 2048, 0, 0, 0, 0, 50_288,
        more={**_MAMBA2, "ssm.inner_size": 4096, "ssm.time_step_rank": 64},
    ),
    "granite-h-1b": Shape(
        "granitehybrid", 10, 1536, 12, 4, 128, 4096, 100_352,
        more={
            **_MAMBA2, "ssm.inner_size": 3072, "ssm.time_step_rank": 48,
            "attention.head_count_kv": _GRANITE,
        },
    ),
    "lfm2-1.2b": Shape(
        "lfm2", 16, 2048, 32, 8, 64, 8192, 65_536,
        more={"attention.head_count_kv": _LFM2, "shortconv.l_cache": 3},
    ),
}  # fmt: skip


def write(directory: Path, name: str) -> Path:
    """Write a header, and make the file as long as it says."""
    shape, path = SHAPES[name], directory / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, shape.arch)
    for key, value in _metadata(shape).items():
        if isinstance(value, list):
            writer.add_array(f"{shape.arch}.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{shape.arch}.{key}", value)
        else:
            writer.add_uint32(f"{shape.arch}.{key}", value)
    writer.add_tokenizer_model("no_vocab")
    size = 0
    for tensor, dimensions in _tensors(shape):
        kind = _Q8_0 if len(dimensions) > 1 and "conv" not in tensor else _F32
        if tensor.endswith(("ssm_a", "ssm_d", "norm.weight", ".bias", "ffn_gate_inp.weight")):
            kind = _F32
        block, nbytes = gguf.GGML_QUANT_SIZES[kind]
        count = int(np.prod(dimensions)) // block * nbytes
        row = (*dimensions[:-1], dimensions[-1] // block * nbytes)
        dtype = np.dtype(np.float32) if kind == _F32 else np.dtype(np.uint8)
        writer.add_tensor_info(
            tensor, dimensions if kind == _F32 else row, dtype, count, raw_dtype=kind
        )
        size += -(-count // _ALIGNMENT) * _ALIGNMENT
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(-(-path.stat().st_size // _ALIGNMENT) * _ALIGNMENT + size)
    return path


def _metadata(shape: Shape) -> dict[str, Any]:
    items = {
        "vocab_size": shape.vocabulary,
        "context_length": 1 << 17,
        "embedding_length": shape.width,
        "block_count": shape.blocks,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    if shape.head:
        items |= {"attention.key_length": shape.head, "attention.value_length": shape.head}
        items["rope.dimension_count"] = shape.head
    if shape.experts:
        items |= {"expert_count": shape.experts, "expert_used_count": shape.used}
        if shape.expert_ff:
            items["expert_feed_forward_length"] = shape.expert_ff
    return items | shape.more


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes, slowest dimension first."""
    yield "token_embd.weight", (shape.vocabulary, shape.width)
    norm = "token_embd_norm" if shape.arch == "lfm2" else "output_norm"
    yield f"{norm}.weight", (shape.width,)
    if not shape.tied:
        yield "output.weight", (shape.vocabulary, shape.width)
    if shape.arch == "llama" and shape.tied:
        yield "rope_freqs.weight", (shape.head // 2,)
    kv_heads = shape.more.get("attention.head_count_kv") or [shape.kv_heads] * shape.blocks
    for block in range(shape.blocks):
        parts = {"attn_norm.weight": (shape.width,)}
        if kv_heads[block]:
            parts |= _attention(shape)
        elif shape.arch == "lfm2":
            parts |= {
                "shortconv.conv.weight": (shape.width, 3),
                "shortconv.in_proj.weight": (3 * shape.width, shape.width),
                "shortconv.out_proj.weight": (shape.width, shape.width),
            }
        else:
            parts |= _mamba(shape)
        if shape.feed_forward:
            parts |= _feed_forward(shape, block)
        for name, size in parts.items():
            yield f"blk.{block}.{name}", size


def _attention(shape: Shape) -> dict[str, tuple[int, ...]]:
    width, q, kv = shape.width, shape.heads * shape.head, shape.kv_heads * shape.head
    arch = shape.arch
    if arch == "deepseek2":
        rank, rope, value = 512, 64, 128
        return {
            "attn_kv_a_norm.weight": (rank,),
            "attn_q.weight": (q, width),
            "attn_kv_a_mqa.weight": (rank + rope, width),
            "attn_k_b.weight": (shape.heads, rank, shape.head - rope),
            "attn_v_b.weight": (shape.heads, value, rank),
            "attn_output.weight": (width, shape.heads * value),
        }
    parts: dict[str, tuple[int, ...]] = {"attn_output.weight": (width, q)}
    if arch == "phi3":
        parts["attn_qkv.weight"] = (q + 2 * kv, width)
    else:
        for name, size in (("q", q), ("k", kv), ("v", kv)):
            parts[f"attn_{name}.weight"] = (size, width)
            if arch in ("qwen2", "gpt-oss"):
                parts[f"attn_{name}.bias"] = (size,)
    if arch in ("qwen3", "qwen3moe", "gemma3", "lfm2"):
        parts |= {"attn_q_norm.weight": (shape.head,), "attn_k_norm.weight": (shape.head,)}
    if arch in ("gpt-oss", "gemma3"):
        parts["post_attention_norm.weight"] = (width,)
    if arch == "gpt-oss":
        parts |= {"attn_sinks.weight": (shape.heads,), "attn_output.bias": (width,)}
    if arch == "grok":
        parts |= {"attn_output_norm.weight": (width,), "layer_output_norm.weight": (width,)}
    return parts


def _mamba(shape: Shape) -> dict[str, tuple[int, ...]]:
    inner, heads = shape.more["ssm.inner_size"], shape.more["ssm.time_step_rank"]
    convolved = inner + 2 * shape.more["ssm.state_size"]
    return {
        "ssm_in.weight": (inner + convolved + heads, shape.width),
        "ssm_conv1d.weight": (convolved, 4),
        "ssm_conv1d.bias": (convolved,),
        "ssm_dt.bias": (heads,),
        "ssm_a": (heads, 1),
        "ssm_d": (heads, 1),
        "ssm_norm.weight": (1, inner),
        "ssm_out.weight": (shape.width, inner),
    }


def _feed_forward(shape: Shape, block: int) -> dict[str, tuple[int, ...]]:
    width, arch = shape.width, shape.arch
    ff, expert_ff = shape.feed_forward, shape.expert_ff or shape.feed_forward
    parts: dict[str, tuple[int, ...]] = {}
    if arch != "gpt-oss":
        parts["ffn_norm.weight"] = (width,)
    if arch == "gemma3":
        parts["post_ffw_norm.weight"] = (width,)
    dense = not shape.experts or block < shape.more.get("leading_dense_block_count", 0)
    if dense or arch == "grok":
        if arch == "phi3":
            parts |= {"ffn_up.weight": (2 * ff, width)}
        else:
            parts |= {"ffn_gate.weight": (ff, width), "ffn_up.weight": (ff, width)}
        parts["ffn_down.weight"] = (width, ff)
    if dense:
        return parts
    parts["ffn_gate_inp.weight"] = (shape.experts, width)
    for name in ("gate", "up", "down"):
        rows, columns = (width, expert_ff) if name == "down" else (expert_ff, width)
        parts[f"ffn_{name}_exps.weight"] = (shape.experts, rows, columns)
        if arch == "gpt-oss":
            parts[f"ffn_{name}_exps.bias"] = (shape.experts, rows)
        if arch == "deepseek2":
            shared = 2 * expert_ff
            sizes = (width, shared) if name == "down" else (shared, width)
            parts[f"ffn_{name}_shexp.weight"] = sizes
    if arch == "gpt-oss":
        parts["ffn_gate_inp.bias"] = (shape.experts,)
    return parts
