"""Writes tiny GGUF models with random weights: real files for llama.cpp, a few hundred kilobytes.

    path = ggufs.write(tmp_path / "tiny.gguf")                    # Mistral's shape and template
    path = ggufs.write(tmp_path / "moe.gguf", "mixtral", seed=3)  # merged experts
    path = ggufs.write(tmp_path / "old.gguf", "mixtral-2023")     # one tensor per expert: obsolete
    path = ggufs.write(tmp_path / "grok.gguf", "grok", template=None)
    path = ggufs.write(tmp_path / "gemma.gguf", "gemma3")         # with a sliding window
    path = ggufs.write(tmp_path / "x.gguf", "martian")            # an architecture nobody knows
    path = ggufs.teach(ggufs.write(tmp_path / "said.gguf", type="F32"), {4: 9, 9: 2})
    path = ggufs.write_adapter(tmp_path / "lora.gguf", ggufs.adapter_matrices(["output.weight"]))
    first, second = ggufs.write_split(tmp_path / "big.gguf")      # big-00001-of-00002.gguf, ...

The same arguments give the same bytes. `metadata` overrides or adds keys: int -> uint32,
float -> float32, `Typed(value, kind)` for the rest; None leaves a key out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize

BOS, EOS = "<s>", "</s>"
BOS_ID, EOS_ID = 1, 2
BYTE_ID = 5  # of byte 0 in the vocabulary "spm"; the others follow

# Written for these tests after the shape of Mistral's format: one turn is
# `[INST] question[/INST] answer</s>`. The system text goes into the first user turn.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'user' %}[INST] "
    "{% if loop.index0 == 1 and messages[0].role == 'system' %}"
    "{{ messages[0].content }}\n\n{% endif %}"
    "{{ message.content }}[/INST]"
    "{% elif message.role == 'assistant' %} {{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
# The originals of Mistral v0.1, v0.2 and Mixtral refuse a system message like this.
RAISING_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}{% endif %}"
    "{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% elif message.role == 'assistant' %}{{ message.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)

_WORDS = ["the", "and", "a", "once", "upon", "time", "there", "was", "little", "hello", "world"]
_WORDS += ["you", "are", "is", "in", "to", "of", "it", "say"]
# Whole tokens beyond ASCII; every other such character is spelled in byte tokens.
_WIDE = ["é", "ß", "你", "好", "你好", "🙂"]
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


@dataclass(frozen=True)
class Typed:
    """A metadata value with its GGUF type spelled out."""

    value: Any
    kind: gguf.GGUFValueType
    element: gguf.GGUFValueType | None = None


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; `width` and `feed_forward` must be multiples of 32 for Q8_0."""

    blocks: int = 2
    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 96
    experts: int = 0
    context: int = 512

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads


def write(
    path: Path,
    arch: str = "llama",
    *,
    vocab: str | None = "spm",
    template: str | None = TEMPLATE,
    seed: int = 0,
    type: str = "F16",  # noqa: A002 - GGUF's word for it
    metadata: Mapping[str, Any] | None = None,
    split_tensors: int = 0,
    changes: Mapping[str, np.ndarray] | None = None,
    **sizes: int,
) -> Path:
    """Write one model and return its path.

    arch: llama (Mistral's shape), mixtral, mixtral-2023, grok, gemma3, or any name for a dense
        model.
    vocab: spm (Mistral's kind, with byte fallback), bpe (GPT-2's kind), None for no vocabulary.
    type: F32, F16, Q8_0 or Q4_0 for the matrices.
    changes: what is added to the weights of some tensors.
    sizes: fields of `Shape`, such as `context=128`.
    """
    experts = 8 if arch in ("mixtral", "mixtral-2023", "grok") else 0
    shape = Shape(**{"experts": experts, **sizes})
    name = "llama" if arch.startswith("mixtral") else arch
    writer = gguf.GGUFWriter(path, name, split_max_tensors=split_tensors)
    # Before the overrides, which may give any of them another value.
    items = {**_model(name, shape), **_vocabulary(name, vocab, template), **(metadata or {})}
    for key, value in items.items():
        if value is None:
            writer.kv_data[0].pop(key, None)
        else:
            _add(writer, key, value)
    random = np.random.default_rng(seed)
    kind = gguf.GGMLQuantizationType[type]
    for tensor, size in _tensors(arch, shape, _vocabulary_size(vocab)):
        _add_tensor(writer, tensor, size, random, kind, (changes or {}).get(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_split(path: Path, arch: str = "llama", shards: int = 2, **knobs: Any) -> list[Path]:
    """Write a model in shards named after `path`; the first of them is what one loads."""
    experts = {"mixtral": 8, "grok": 8}.get(arch, 0)
    count = len(list(_tensors(arch, Shape(experts=experts), 1)))
    write(path, arch, split_tensors=-(-count // shards), **knobs)
    return sorted(path.parent.glob(f"{path.stem}-?????-of-?????.gguf"))


def teach(path: Path, follows: Mapping[int, int]) -> Path:
    """Make a model of F32 matrices say after each of these tokens the one that it names."""
    reader = gguf.GGUFReader(path, "r+")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    for name, data in tensors.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            data[:] = 0  # what came before the last token does not count
    tensors["output.weight"][:] = 0
    for token, following in follows.items():
        tensors["output.weight"][following] += 9 * tensors["token_embd.weight"][token]
    return path


Matrices = Mapping[str, tuple[np.ndarray, np.ndarray]]


def adapter_matrices(
    tensors: Iterable[str], arch: str = "llama", *, rank: int = 4, seed: int = 0, **sizes: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random A and B for some tensors of a model of that kind; B @ A is to be added to each."""
    shape = Shape(**{"experts": 8 if arch in ("mixtral", "grok") else 0, **sizes})
    known = dict(_tensors(arch, shape, _vocabulary_size("spm")))
    random = np.random.default_rng(seed)
    found = {}
    for name in tensors:
        *experts, rows, columns = known[name]
        a = random.standard_normal((*experts, rank, columns), np.float32) * columns**-0.5
        b = random.standard_normal((*experts, rows, rank), np.float32) * 0.5
        found[name] = a.astype(np.float32), b.astype(np.float32)
    return found


def write_adapter(
    path: Path,
    matrices: Matrices,
    arch: str = "llama",
    *,
    alpha: float | None = None,
    type: str = "F32",  # noqa: A002 - as above
    metadata: Mapping[str, Any] | None = None,
    others: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a LoRA adapter; `alpha` None leaves it out, and `others` are no pairs but what it says.

    It adds alpha / rank * B @ A to each tensor, or B @ A without an alpha.
    """
    writer = gguf.GGUFWriter(path, arch)
    items = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": alpha}
    for key, value in {**items, **(metadata or {})}.items():
        if value is None:
            writer.kv_data[0].pop(key, None)
        else:
            _add(writer, key, value)
    kind = gguf.GGMLQuantizationType[type]
    for name, (a, b) in matrices.items():
        for side, data in (("a", a), ("b", b)):
            writer.add_tensor(f"{name}.lora_{side}", quantize(data, kind), raw_dtype=kind)
    for name, data in (others or {}).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def truncate(path: Path, keep: int) -> Path:
    """Cut the file to its first `keep` bytes; a negative number cuts off that many."""
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    return path


def _model(arch: str, shape: Shape) -> dict[str, Any]:
    items: dict[str, Any] = {
        "general.type": "model",
        "general.name": f"tiny {arch}",
        "general.license": "mit",
        "general.file_type": 1,
        f"{arch}.vocab_size": _vocabulary_size("spm"),
        f"{arch}.context_length": shape.context,
        f"{arch}.embedding_length": shape.width,
        f"{arch}.block_count": shape.blocks,
        f"{arch}.feed_forward_length": shape.feed_forward,
        f"{arch}.attention.head_count": shape.heads,
        f"{arch}.attention.head_count_kv": shape.kv_heads,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{arch}.rope.dimension_count": shape.width // shape.heads,
        f"{arch}.rope.freq_base": 10000.0,
    }
    if arch == "gemma3":  # one block in six sees all tokens, the others a window of them
        items[f"{arch}.attention.sliding_window"] = 16
        items[f"{arch}.attention.key_length"] = shape.width // shape.heads
        items[f"{arch}.attention.value_length"] = shape.width // shape.heads
    if shape.experts:
        items[f"{arch}.expert_count"] = shape.experts
        items[f"{arch}.expert_used_count"] = 2
    return items


def _vocabulary(arch: str, kind: str | None, template: str | None) -> dict[str, Any]:
    if kind is None:
        return {"tokenizer.ggml.model": "no_vocab"}
    items: dict[str, Any] = {"tokenizer.chat_template": template}
    if kind == "spm":
        tokens = _spm()
        items |= {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.scores": [float(-index) for index in range(len(tokens))],
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.ggml.add_eos_token": False,
        }
    else:
        tokens, merges = _bpe()
        items |= {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.merges": merges,
            f"{arch}.vocab_size": len(tokens),
        }
    return items | {
        "tokenizer.ggml.tokens": [token for token, _ in tokens],
        "tokenizer.ggml.token_type": [kind for _, kind in tokens],
        "tokenizer.ggml.bos_token_id": BOS_ID,
        "tokenizer.ggml.eos_token_id": EOS_ID,
    }


_SPECIAL = ((BOS, _CONTROL), (EOS, _CONTROL), ("[INST]", _CONTROL), ("[/INST]", _CONTROL))


@cache
def _spm() -> tuple[tuple[str, int], ...]:
    """Tokens and their types: specials, 256 bytes, ASCII, and words with all their prefixes."""
    pieces = [chr(code) for code in range(33, 127)] + ["▁"]
    words = {f"▁{word}"[:end] for word in _WORDS for end in range(2, len(word) + 2)}
    pieces += sorted(words, key=lambda word: (len(word), word)) + _WIDE
    tokens = [("<unk>", _UNKNOWN), *_SPECIAL]
    tokens += [(f"<0x{byte:02X}>", _BYTE) for byte in range(256)]
    return (*tokens, *((piece, _NORMAL) for piece in pieces))


@cache
def _bpe() -> tuple[tuple[tuple[str, int], ...], list[str]]:
    """Tokens with their types, and merges, over GPT-2's letters for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    tokens = [("<|pad|>", _CONTROL), *_SPECIAL, *((letter, _NORMAL) for letter in letters.values())]
    merges: dict[str, str] = {}
    for word in _WORDS:
        piece = letters[ord(" ")]
        for letter in word:
            merges.setdefault(piece + letter, f"{piece} {letter}")
            piece += letter
    return (*tokens, *((piece, _NORMAL) for piece in merges)), list(merges.values())


def _vocabulary_size(kind: str | None) -> int:
    return len(_bpe()[0]) if kind == "bpe" else len(_spm())


def _tensors(arch: str, shape: Shape, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes, slowest dimension first (numpy's order)."""
    width, ff = shape.width, shape.feed_forward
    yield "token_embd.weight", (vocabulary, width)
    yield "output_norm.weight", (width,)
    yield "output.weight", (vocabulary, width)
    for block in range(shape.blocks):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (shape.kv_width, width),
            "attn_v": (shape.kv_width, width),
            "attn_output": (width, width),
            "ffn_norm": (width,),
        }
        if arch == "gemma3":
            head = (width // shape.heads,)
            sizes |= {"attn_q_norm": head, "attn_k_norm": head}
            sizes |= {"post_attention_norm": (width,), "post_ffw_norm": (width,)}
        if arch == "grok":
            sizes |= {"attn_output_norm": (width,), "layer_output_norm": (width,)}
        matrices = {"ffn_gate": (ff, width), "ffn_down": (width, ff), "ffn_up": (ff, width)}
        if shape.experts:
            sizes["ffn_gate_inp"] = (shape.experts, width)
        for name, size in matrices.items():
            if not shape.experts:
                sizes[name] = size
            elif arch == "mixtral-2023":
                sizes |= {f"{name}.{expert}": size for expert in range(shape.experts)}
            else:
                sizes[f"{name}_exps"] = (shape.experts, *size)
        for name, size in sizes.items():
            yield f"blk.{block}.{name}.weight", size


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    kinds = gguf.GGUFValueType
    if isinstance(value, Typed):
        writer.add_key_value(key, value.value, value.kind, value.element)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        plain = {bool: kinds.BOOL, int: kinds.UINT32, float: kinds.FLOAT32, str: kinds.STRING}
        writer.add_key_value(key, value, plain[value.__class__])


def _add_tensor(
    writer: gguf.GGUFWriter,
    name: str,
    size: tuple[int, ...],
    random: np.random.Generator,
    kind: gguf.GGMLQuantizationType,
    change: np.ndarray | None = None,
) -> None:
    if len(size) == 1:
        writer.add_tensor(name, np.ones(size, np.float32))
        return
    # The output is scaled up so that the best token leads by far: greedy decoding then does not
    # hang on the rounding of one kernel or another.
    scale = 0.5 if name == "output.weight" else 2 * size[-1] ** -0.5
    data = random.standard_normal(size, np.float32) * np.float32(scale)
    if change is not None:
        data += change.astype(np.float32)
    if name.endswith("ffn_gate_inp.weight"):
        kind = gguf.GGMLQuantizationType.F32  # as converters keep it
    writer.add_tensor(name, quantize(data, kind), raw_dtype=kind)
