"""Content that makes llama.cpp abort or read out of bounds, found in the header.

Each rule answers a GGML_ASSERT or an uncaught exception of llama.cpp (src/llama-model.cpp,
src/llama-vocab.cpp, the graphs in src/models) that file content reaches. What llama.cpp reports by
itself, such as a missing tensor, is left to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from lokal.gguf.header import Array, Header
from lokal.gguf.reader import STRING, Buffer, strings

_MAX_BLOCKS, _MAX_EXPERTS = 512, 1024
_ROPE_SCALINGS = {"none", "linear", "yarn", "longrope"}
_REQUIRED = ("context_length", "embedding_length", "block_count")
# Graphs of these take blocks for alike, and keys, values and rotation for equally long.
_PLAIN = {"llama", "grok"}
# The ids that llama.cpp falls back to where a vocabulary names none.
_DEFAULT_BOS = {"llama": 1, "gpt2": 11, "plamo2": 1}
_DEFAULT_EOS = {"llama": 2, "gpt2": 11, "plamo2": 2}
_ENCODER_TOKENIZERS = {"bert", "t5", "test"}
# Only intermediate results have these types; no kernel multiplies by them.
_NO_WEIGHTS = {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}
_RWKV_BYTE = re.compile(rb"\\x[0-9A-Fa-f]{2}|\\.|.", re.DOTALL)  # escaped as in Python
_BYTES = [*range(0xC0), *range(0xC2, 0xF5)]  # what valid UTF-8 is made of


def flaw(header: Header, buffer: Buffer) -> str | None:
    """The first flaw of a model in words, or None."""
    rules: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _sizes(header),
        lambda: _experts(header),
        lambda: _attention(header),
        lambda: _numbers(header),
        lambda: _tensors(header),
        lambda: _vocabulary(header, buffer),
    )
    return next((found for rule in rules for found in rule()), None)


def _sizes(header: Header) -> Iterator[str]:
    for key in (*_REQUIRED, "vocab_size"):
        value = header.integer(header.own(key))
        if value is not None and not 0 < value < 1 << 31:
            yield f"{key} of {value}"
        if value is None and key in _REQUIRED and not header.split_no:
            yield f"it has no {key}"
    blocks = header.block_count
    if blocks is not None and not 0 < blocks <= _MAX_BLOCKS:
        yield f"block_count of {blocks}"
    if (header.integer(header.own("nextn_predict_layers")) or 0) >= (blocks or 1):
        yield "more prediction layers than blocks"


def _experts(header: Header) -> Iterator[str]:
    experts, used = header.expert_count, header.expert_used_count
    groups = header.integer(header.own("expert_group_count")) or 0
    group_used = header.integer(header.own("expert_group_used_count")) or 0
    if not 0 <= experts <= _MAX_EXPERTS:
        yield f"expert_count of {experts}"
    if used > experts or (experts and used < 1):
        yield f"{used} of {experts} experts in use"
    per_block = set(header.integers(header.own("expert_used_count")))
    if len(per_block) > 1 and header.architecture in _PLAIN:
        yield f"{sorted(per_block)} experts in use, depending on the block"
    if groups and (groups < 0 or groups >= experts or experts % groups):
        yield f"{experts} experts in {groups} groups"
    if groups > 1 and not 0 < group_used < groups:
        yield f"{group_used} of {groups} expert groups in use"


def _attention(header: Header) -> Iterator[str]:
    heads, kv_heads = header.head_counts, header.kv_head_counts
    plain = header.architecture in _PLAIN
    for count, kv_count in zip(heads, kv_heads, strict=False):
        if count < 0 or kv_count < 0 or (count and kv_count and count % kv_count):
            yield f"{count} attention heads over {kv_count} key-value heads"
        if plain and not (count and kv_count):
            yield "a block without attention heads"
    key, value = header.key_length, header.value_length
    rotation = header.integer(header.own("rope.dimension_count"))
    if (
        key < 0
        or value < 0
        or (plain and not key == value == (key if rotation is None else rotation))
    ):
        yield f"heads of length {key} and {value} with {rotation} rotated"
    width = header.embedding_length
    if header.architecture == "grok" and any(count * key != width for count in heads):
        yield f"heads {heads} of length {key} in a width of {width}"
    if rotation is not None and (rotation < 0 or rotation % 2):
        yield f"rope.dimension_count of {rotation}"


def _numbers(header: Header) -> Iterator[str]:
    for key in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
        epsilon = header.metadata.get(header.own(key))
        if isinstance(epsilon, float) and not epsilon >= 0:
            yield f"{key} of {epsilon}"
    for key, value in header.metadata.items():
        # Every logit would be NaN.
        if isinstance(value, float) and key.startswith(header.own("")) and not math.isfinite(value):
            yield f"{key} of {value}"
        if key.endswith("rope.freq_base") and not (isinstance(value, float) and value > 0):
            yield f"{key} of {value}"
    scaling = header.text(header.own("rope.scaling.type"))
    if scaling is not None and scaling not in _ROPE_SCALINGS:
        yield f"unknown rope.scaling.type {scaling!r}"


def _tensors(header: Header) -> Iterator[str]:
    for tensor in header.tensors:
        if tensor.type in _NO_WEIGHTS and tensor.name.endswith(".weight"):
            yield f"tensor {tensor.name!r} of type {tensor.type}, which holds no weights"
        if tensor.type != "F32" and tensor.name.endswith(("norm.weight", ".bias")):
            yield f"tensor {tensor.name!r} of type {tensor.type} instead of F32"


def _vocabulary(header: Header, buffer: Buffer) -> Iterator[str]:
    if not header.has_vocabulary:
        return
    listed = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(listed, Array) or listed.kind != STRING:
        return  # which llama.cpp reports
    tokens = strings(buffer, listed)
    # llama.cpp names empty tokens by their place, then insists that all differ.
    known = set(tokens)
    if b"" in known:
        known = {token or b"[EMPTY_%d]" % index for index, token in enumerate(tokens)}
    if len(known) < len(tokens):
        yield "two tokens of the vocabulary are the same"
    model = header.text("tokenizer.ggml.model") or ""
    if model in _ENCODER_TOKENIZERS:
        yield f"a tokenizer of type {model}, which cannot spell what a model writes"
    if model == "llama":
        missing = [b for b in _BYTES if b"<0x%02X>" % b not in known and bytes([b]) not in known]
        if missing:
            yield f"the vocabulary has no token for byte 0x{missing[0]:02X}"
    if model == "rwkv":
        # A byte that begins tokens without being one sends the tokenizer into an endless loop.
        firsts = {match[0] for token in known if (match := _RWKV_BYTE.match(token))}
        if not firsts <= known:
            yield f"the vocabulary has no token for {min(firsts - known)!r} alone"
    for edge, defaults in (("bos", _DEFAULT_BOS), ("eos", _DEFAULT_EOS)):
        token = header.integer(f"tokenizer.ggml.{edge}_token_id")
        if token is None or not 0 <= token < len(tokens):
            token = defaults.get(model, len(tokens))
        if header.metadata.get(f"tokenizer.ggml.add_{edge}_token") is True and token >= len(tokens):
            yield f"{edge.upper()} is to be added, but there is no such token"
