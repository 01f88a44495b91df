"""llama.cpp's own account of the memory that it took, read off its log."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# As in "llama_kv_cache:      CUDA0 KV buffer size =   128.00 MiB"; a device's name may have blanks.
_LINE = re.compile(
    r"\w+: +(.+?) +(model|KV|RS|\S+ \S+ state|compute|output) buffer size = +(\S+) MiB"
)
_KINDS = {"model": "weights", "compute": "compute", "output": "results"}


class Buffer(NamedTuple):
    """Memory that llama.cpp took: `kind` is weights, kv, compute or results; `size` is in bytes.

    `device` is what ggml calls the buffer's type, such as CPU, CPU_Mapped, CPU_REPACK and CUDA0.
    """

    device: str
    kind: str
    size: int


def buffers(lines: Iterable[str]) -> list[Buffer]:
    """The buffers that these lines of llama.cpp's log tell of; sizes are good to 10 KB."""
    found = filter(None, map(_LINE.match, lines))
    return [
        Buffer(device, _KINDS.get(kind, "kv"), round(float(size) * 2**20))
        for device, kind, size in (match.groups() for match in found)
    ]


def taken(found: Iterable[Buffer]) -> int:
    """Bytes that must stay in memory: the originals of repacked weights are never read again."""
    found = list(found)
    mapped = any(buffer.device.endswith("_Mapped") for buffer in found)
    copies = "_REPACK" if mapped else None
    return sum(b.size for b in found if not (copies and b.device.endswith(copies)))
