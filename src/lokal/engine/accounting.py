"""llama.cpp's own account of the memory that it took, read off its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_SIZE = " buffer size = "
_KINDS = {"model": "weights", "compute": "compute", "output": "results", "LoRA": "weights"}


class Buffer(NamedTuple):
    """Memory that llama.cpp took: `kind` is weights, kv, compute or results; `size` is in bytes.

    `device` is what ggml calls the buffer's type, such as CPU, CPU_Mapped, CPU_REPACK and CUDA0.
    """

    device: str
    kind: str
    size: int


def buffers(lines: Iterable[str]) -> list[Buffer]:
    """The buffers that these lines of llama.cpp's log tell of; sizes are good to 10 KB.

    A line is `llama_kv_cache:      CUDA0 KV buffer size =   128.00 MiB`.
    """
    found = []
    for line in lines:
        of, _, size = line.partition(_SIZE)
        whole, _, part = size.removesuffix(" MiB").strip().partition(".")
        # The log shows a file's metadata too, which may say anything.
        if whole.isdecimal() and part.isdecimal() and len(whole) < 12:
            device, _, kind = of.partition(": ")[2].strip().rpartition(" ")
            mib = float(f"{whole}.{part}")
            found.append(Buffer(device.strip(), _KINDS.get(kind, "kv"), round(mib * 2**20)))
    return found


def taken(found: Iterable[Buffer]) -> int:
    """Bytes that must stay in memory: the originals of repacked weights are never read again."""
    found = list(found)
    mapped = any(buffer.device.endswith("_Mapped") for buffer in found)
    copies = "_REPACK" if mapped else None
    return sum(b.size for b in found if not (copies and b.device.endswith(copies)))
