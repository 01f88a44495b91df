"""What the repositories of the stand-in hold."""

from __future__ import annotations

from random import Random

Q4, Q8 = b"GGUF four" * 1000, b"GGUF eight" * 2000
SHARDS = {f"Q2_K/x-Q2_K-0000{i}-of-00002.gguf": b"GGUF" + bytes([i]) * 1000 for i in (1, 2)}
PARTS = {f"x-Q6_K.gguf.part{i}of3": bytes([i]) * 1000 * i for i in (1, 2, 3)}
FILES = {
    "README.md": b"# x",
    "x-Q4_K_M.gguf": Q4,
    "x-Q8_0.gguf": Q8,
    "mmproj-x.gguf": b"GGUF",
    **SHARDS,
    **PARTS,
}
# Above the least piece of a parallel transfer, and no multiple of anything.
BIG = Random(1).randbytes(20_000_003)
