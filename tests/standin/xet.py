"""The read side of the Xet protocol, without compression."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from standin.plumbing import Plumbing

CHUNK = 64 * 1024
CHUNKS_PER_XORB = 1000
_HEADER = 8  # bytes before each chunk


class Xet(Plumbing):
    def reconstruction(self, xet_hash: str) -> None:
        """Which chunks of which xorbs make up a file, or the range of it that is asked for."""
        entry = self.repositories.by_xet_hash(xet_hash)
        if entry is None:
            self.error(404, None, "no such file")
            return
        start, stop = 0, entry.size
        if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_log["range"] or ""):
            start, stop = int(asked[1]), min(int(asked[2]) + 1, entry.size)
            if start >= entry.size:
                self.answer(416)
                return
        chunks = -(-entry.size // CHUNK)
        terms: list[dict[str, Any]] = []
        fetch: dict[str, Any] = {}
        first, last = start // CHUNK, -(-stop // CHUNK)
        for number in range(first // CHUNKS_PER_XORB, -(-last // CHUNKS_PER_XORB)):
            base = number * CHUNKS_PER_XORB
            a, b = max(first, base), min(last, base + CHUNKS_PER_XORB, chunks)
            xorb = hashlib.sha256(f"xorb{xet_hash}{number}".encode()).hexdigest()
            self.repositories.xorbs[xorb] = (entry, base)
            unpacked = min(b * CHUNK, entry.size) - a * CHUNK
            low = (a - base) * (CHUNK + _HEADER)
            span = {"start": a - base, "end": b - base}
            terms.append({"hash": xorb, "unpacked_length": unpacked, "range": span})
            url: str = self.server.cdn_url  # type: ignore[attr-defined]
            bytes_ = {"start": low, "end": low + unpacked + _HEADER * (b - a) - 1}
            fetch[xorb] = [{"range": span, "url": f"{url}/xorb/{xorb}?sig=0", "url_range": bytes_}]
        self.json(
            {
                "offset_into_first_range": start - first * CHUNK,
                "terms": terms,
                "fetch_info": fetch,
            }
        )

    def xorb(self, xorb: str) -> None:
        """The bytes of some chunks, each with its header."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_log["range"] or "")
        if xorb not in self.repositories.xorbs or not asked:
            self.answer(403)
            return
        entry, base = self.repositories.xorbs[xorb]
        self.request_log["file"] = entry.path
        low, high = int(asked[1]), int(asked[2]) + 1
        self.head(
            206, {"Content-Length": str(high - low), "Content-Range": f"bytes {low}-{high - 1}/*"}
        )
        step = CHUNK + _HEADER
        with entry.disk.open("rb") as file:
            for index in range(low // step, -(-high // step)):
                file.seek((base + index) * CHUNK)
                data = bytearray(file.read(CHUNK))
                flaw = self.rule.get("corrupt_at", -1) - (base + index) * CHUNK
                if 0 <= flaw < len(data):
                    data[flaw] ^= 0xFF
                length = len(data).to_bytes(3, "little")
                chunk = b"\0" + length + b"\0" + length + bytes(data)
                part = chunk[max(0, low - index * step) : high - index * step]
                self.connection.sendall(part)
                self.request_log["sent"] += len(part)
