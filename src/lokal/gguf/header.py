"""What the header of a GGUF file says: metadata and tensors, without the weights.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# `general.file_type` numbers as llama.cpp's `llama_ftype` assigns them.
_FILE_TYPES: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}

# Our names for what the file recommends, and the types they take.
_SAMPLING: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "temperature": ("general.sampling.temp", float),
    "top_k": ("general.sampling.top_k", int),
    "top_p": ("general.sampling.top_p", float),
    "min_p": ("general.sampling.min_p", float),
    "repeat_penalty": ("general.sampling.penalty_repeat", float),
}


@dataclass(frozen=True)
class Array:
    """An array left where it is: `count` elements from byte `offset` of the file on.

    `kind` is GGUF's number for the element type. Arrays of the tokenizer are always left there.
    """

    kind: int
    count: int
    offset: int


Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...] | Array


class TensorInfo(NamedTuple):
    """One tensor: `shape` in file order (fastest dimension first), `offset` from `data_offset`."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The metadata and tensors of one GGUF file; from `check`, the tensors of all its shards.

    `file_size` is what the file must hold in bytes, counted up to its last tensor's end; from
    `check`, all shards together. Keys that are absent, or of the wrong type, read as None.
    """

    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int
    file_size: int

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def integers(self, key: str) -> tuple[int, ...]:
        """An integer or an array of them, as a tuple; empty when absent."""
        value = self.metadata.get(key)
        items = value if isinstance(value, tuple) else (value,)
        return tuple(item for item in items if isinstance(item, int))

    def own(self, key: str) -> str:
        """The full name of a key that stands under the architecture's name."""
        return f"{self.architecture}.{key}"

    @property
    def architecture(self) -> str:
        return self.text("general.architecture") or ""

    @property
    def type(self) -> str:
        """What the file is for: model, adapter, imatrix, mmproj (a projector)."""
        return self.text("general.type") or "model"

    @property
    def name(self) -> str | None:
        return self.text("general.name")

    @property
    def license(self) -> str | None:
        """The licence as the file states it: an SPDX identifier, or a name in words."""
        return self.text("general.license") or self.text("general.license.name")

    @property
    def context_length(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self.integer(self.own("context_length"))

    @property
    def block_count(self) -> int | None:
        return self.integer(self.own("block_count"))

    @property
    def embedding_length(self) -> int | None:
        return self.integer(self.own("embedding_length"))

    @property
    def head_counts(self) -> tuple[int, ...]:
        """Attention heads of each block."""
        return self._per_block("attention.head_count")

    @property
    def kv_head_counts(self) -> tuple[int, ...]:
        """Key and value heads of each block; blocks without attention have none."""
        return self._per_block("attention.head_count_kv") or self.head_counts

    @property
    def key_length(self) -> int:
        """Numbers in one key of one head."""
        return self._head_length("attention.key_length")

    @property
    def value_length(self) -> int:
        """Numbers in one value of one head."""
        return self._head_length("attention.value_length")

    @property
    def expert_count(self) -> int:
        """Experts a block; 0 for a dense model."""
        return self.integer(self.own("expert_count")) or 0

    @property
    def expert_used_count(self) -> int:
        """The most experts that one token runs through in a block."""
        return max(self.integers(self.own("expert_used_count")), default=0)

    @property
    def has_vocabulary(self) -> bool:
        return self.text("tokenizer.ggml.model") not in (None, "none", "no_vocab")

    @property
    def vocabulary_size(self) -> int:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, Array):
            return tokens.count
        return self.integer(self.own("vocab_size")) or 0

    @property
    def chat_template(self) -> str | None:
        return self.text("tokenizer.chat_template")

    @property
    def quantization(self) -> str:
        """The name people know, such as `Q4_K_M`; else the tensor type of most of the weights."""
        file_type = self.integer("general.file_type")
        if file_type is not None and file_type in _FILE_TYPES:
            return _FILE_TYPES[file_type]
        sizes: dict[str, int] = {}
        for tensor in self.tensors:
            sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.nbytes
        return max(sizes, key=lambda kind: sizes[kind], default="unknown")

    @property
    def parameters(self) -> int:
        """Weights, counted."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def split_no(self) -> int:
        """Which shard this is, from 0."""
        return self.integer("split.no") or 0

    @property
    def split_count(self) -> int:
        """Shards of the model; 1 when it is not split."""
        return max(1, self.integer("split.count") or 1)

    def sampling(self) -> dict[str, Any]:
        """The sampling that the file recommends, under our names for it."""
        found: dict[str, Any] = {}
        for name, (key, kind) in _SAMPLING.items():
            value = self.metadata.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if math.isfinite(value) and value >= 0:
                # Files keep them with 24 bits: 0.7 comes out as 0.699999988.
                found[name] = kind(f"{value:.6g}") if kind is float else kind(value)
        return found

    def _per_block(self, key: str) -> tuple[int, ...]:
        values = self.integers(self.own(key))
        # The file gives one number for all blocks, or one each.
        scalar = not isinstance(self.metadata.get(self.own(key)), tuple)
        return values * min(self.block_count or 0, 1024) if scalar else values

    def _head_length(self, key: str) -> int:
        heads = next((count for count in self.head_counts if count), 0)
        default = (self.embedding_length or 0) // heads if heads > 0 else 0
        length = self.integer(self.own(key))
        return default if length is None else length
