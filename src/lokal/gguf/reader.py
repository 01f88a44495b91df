"""Bytes -> Header: reads a GGUF header and trusts nothing in it."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path

from lokal.errors import DamagedFileError, LoadError
from lokal.gguf.header import Array, Header, Scalar, TensorInfo, Value

Buffer = bytes | mmap.mmap

MAGIC = b"GGUF"

# Limits far above any real file (vocabularies reach 0.3 million tokens, headers 20 MB, tensors a
# few thousand), so that a hostile header costs a moment and no memory.
_MAX_HEADER = 64 << 20
_MAX_ITEMS = 4096
_MAX_TENSORS = 65_536
_MAX_STRINGS = 4_000_000
# Arrays up to this length become tuples: one number a block, labels, languages.
_KEPT = 1024

# Block size in weights, and bytes a block, of every ggml tensor type in use. Numbers that are
# missing were dropped by llama.cpp, or are newer than this table.
_TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in enumerate("BbHhIif?")}
_SCALARS |= {10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d")}
_UINT16, _FLOAT32, STRING, _ARRAY = 2, 6, 8, 9
_ALIGNMENT = 32


class NeedMore(Exception):  # noqa: N818 - a signal, not an error
    """The header goes on: parsing needs at least the first `size` bytes of the file."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def parse(buffer: Buffer) -> Header:
    """Read the header from a file's first bytes.

    Takes well under 0.1 s for the largest vocabularies, whose strings are stepped over.

    Raises:
        NeedMore: `buffer` ends within the header.
        DamagedFileError: this is no GGUF header, or its parts contradict each other.
        LoadError: a version or tensor type that llama.cpp does not read.
    """
    cursor = _Cursor(buffer)
    tensor_count, item_count = _preamble(cursor)
    metadata: dict[str, Value] = {}
    for _ in range(item_count):
        key = cursor.name()
        if not key or key in metadata:
            raise _damaged(f"metadata key {key!r} is empty or there twice")
        kind = cursor.u32()
        if key == "split.no" and kind != _UINT16:
            raise _damaged("split.no is no 16-bit number")  # llama.cpp aborts
        if key == "adapter.lora.alpha" and kind != _FLOAT32:
            raise _damaged("adapter.lora.alpha is no 32-bit float")  # likewise
        metadata[key] = _value(cursor, kind, keep=not key.startswith("tokenizer."))
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    # The format allows less than 32; llama.cpp aborts on it when the file is memory-mapped.
    if not isinstance(alignment, int) or alignment < _ALIGNMENT or alignment & (alignment - 1):
        raise _damaged(f"alignment {alignment!r} is no power of two from {_ALIGNMENT} up")

    tensors = []
    names = set()
    end = 0
    for _ in range(tensor_count):
        tensor = _tensor(cursor)
        # llama.cpp insists on the same: tensors in order, without gaps or overlaps.
        if tensor.name in names or tensor.offset != end:
            raise _damaged(f"tensor {tensor.name!r} is there twice or out of place")
        names.add(tensor.name)
        tensors.append(tensor)
        end = _padded(tensor.offset + tensor.nbytes, alignment)
    data_offset = _padded(cursor.at, alignment) if tensors else cursor.at
    last = tensors[-1].offset + tensors[-1].nbytes if tensors else 0
    return Header(metadata, tuple(tensors), data_offset, alignment, data_offset + last)


def read(path: Path) -> Header:
    """Read the header of a local file; `check` says more when a file is not what it should be.

    Raises:
        OSError: the file cannot be opened.
        LoadError: as `parse`; a file that ends within its header is a DamagedFileError.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            raise _damaged("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            try:
                return parse(buffer)
            except NeedMore:
                raise _damaged(f"the file ends within its header, at {len(buffer)} bytes") from None


def strings(buffer: Buffer, array: Array) -> list[bytes]:
    """The strings of an array that `parse` found, undecoded, each cut at a NUL as in llama.cpp."""
    at, unpack, found = array.offset, _U64.unpack_from, []
    for _ in range(array.count):
        start = at + 8
        at = start + unpack(buffer, at)[0]
        found.append(buffer[start:at])
    if b"\0" in b" ".join(found):  # hardly ever, and it costs to look at each
        found = [string.partition(b"\0")[0] for string in found]
    return found


class _Cursor:
    """Where the reader is; every step is checked against the buffer's end."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.at = 0

    def demand(self, size: int) -> int:
        """Step over `size` bytes that must be there, and return where they begin."""
        start = self.at
        if start + size > _MAX_HEADER:
            raise _damaged(f"a length of {size} bytes at byte {start} is absurd")
        if start + size > len(self.buffer):
            raise NeedMore(start + size)
        self.at = start + size
        return start

    def number(self, kind: struct.Struct) -> Scalar:
        value: Scalar = kind.unpack_from(self.buffer, self.demand(kind.size))[0]
        return value

    def u32(self) -> int:
        return int(self.number(_U32))

    def u64(self) -> int:
        return int(self.number(_U64))

    def raw(self) -> bytes:
        start = self.demand(self.u64())
        return self.buffer[start : self.at]

    def string(self) -> str:
        # llama.cpp hands values around as C strings: what follows a NUL does not exist for it.
        return self.raw().partition(b"\0")[0].decode("utf-8", "replace")

    def name(self) -> str:
        raw = self.raw()
        if b"\0" in raw:
            raise _damaged(f"the name {raw[:64]!r} contains a NUL")
        return raw.decode("utf-8", "backslashreplace")

    def skip_strings(self, count: int) -> None:
        # The one loop that runs half a million times for one file, so it does without calls.
        buffer, at, unpack = self.buffer, self.at, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(buffer, at)[0]
        except (struct.error, OverflowError):
            at += 8
        self.demand(at - self.at)


def _preamble(cursor: _Cursor) -> tuple[int, int]:
    """The numbers of tensors and metadata items."""
    if cursor.buffer[: len(MAGIC)] != MAGIC[: len(cursor.buffer)]:
        raise _damaged("it does not begin with GGUF")
    cursor.demand(len(MAGIC))
    version = cursor.u32()
    if version & 0xFFFF == 0:
        raise LoadError("the file is big-endian", hint="pull a little-endian GGUF instead")
    if version not in (2, 3):
        raise LoadError(
            f"GGUF version {version} is not supported, only 2 and 3", hint="pull a newer conversion"
        )
    tensors, items = cursor.u64(), cursor.u64()
    if tensors > _MAX_TENSORS or items > _MAX_ITEMS:
        raise _damaged(f"{tensors} tensors and {items} metadata items are absurd numbers")
    return tensors, items


def _value(cursor: _Cursor, kind: int, *, keep: bool) -> Value:
    if kind != _ARRAY:
        return _scalar(cursor, kind)
    kind, count = cursor.u32(), cursor.u64()
    if kind == STRING and count > _MAX_STRINGS:
        raise _damaged(f"an array of {count} strings is absurd")
    if kind != STRING and kind not in _SCALARS:
        raise _damaged(f"an array of type {kind}")
    if keep and count <= _KEPT:
        return tuple(_scalar(cursor, kind) for _ in range(count))
    array = Array(kind, count, cursor.at)
    if kind == STRING:
        cursor.skip_strings(count)
    else:
        cursor.demand(count * _SCALARS[kind].size)
    return array


def _scalar(cursor: _Cursor, kind: int) -> Scalar:
    if kind == STRING:
        return cursor.string()
    if kind not in _SCALARS:
        raise _damaged(f"a metadata value of type {kind}")
    return cursor.number(_SCALARS[kind])


def _tensor(cursor: _Cursor) -> TensorInfo:
    name = cursor.name()
    dimensions = cursor.u32()
    if dimensions > 4 or len(name) >= 64:
        raise _damaged(f"tensor {name[:64]!r} has {dimensions} dimensions or too long a name")
    shape = tuple(cursor.u64() for _ in range(dimensions))
    kind, offset = cursor.u32(), cursor.u64()
    if kind not in _TENSOR_TYPES:
        raise LoadError(
            f"tensor {name!r} is of type {kind}, which is obsolete or not known yet",
            hint="pull another quantization, or update lokal",
        )
    label, block, block_bytes = _TENSOR_TYPES[kind]
    count = math.prod(shape)
    if not 0 < count < 1 << 53 or (*shape, 1)[0] % block:
        raise _damaged(f"tensor {name!r} has an impossible shape {shape} for type {label}")
    return TensorInfo(name, shape, label, offset, count // block * block_bytes)


def _padded(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment


def _damaged(what: str) -> DamagedFileError:
    return DamagedFileError(
        f"damaged GGUF header: {what}", hint="pull the file again, or take it from another source"
    )
