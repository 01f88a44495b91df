"""Holds memory of ggml's devices until its standard input ends: another program on the same card.

    python benchmarks/hold.py

Each line that it reads, `CUDA0 1000000000`, is so many bytes more of a device; it answers with what
it holds of it. Memory that it was refused is not in there.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter

from lokal.engine import build
from lokal.hardware.devices import devices

_PIECE = 1 << 30  # bytes; some backends have no larger buffers


def main() -> None:
    ggml = build.ggml()
    pointer = ctypes.c_void_p
    ggml.ggml_backend_dev_buffer_type.restype = pointer
    ggml.ggml_backend_dev_buffer_type.argtypes = [pointer]
    ggml.ggml_backend_buft_alloc_buffer.restype = pointer
    ggml.ggml_backend_buft_alloc_buffer.argtypes = [pointer, ctypes.c_size_t]
    by_name = {device.name: device.native for device in devices(ggml)}
    held: Counter[str] = Counter()
    for line in sys.stdin:
        name, size = line.split()
        kind, left = ggml.ggml_backend_dev_buffer_type(by_name[name]), int(size)
        while left > 0 and ggml.ggml_backend_buft_alloc_buffer(kind, min(left, _PIECE)):
            held[name] += min(left, _PIECE)
            left -= _PIECE
        sys.stdout.write(f"{held[name]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
