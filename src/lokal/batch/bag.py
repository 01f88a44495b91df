"""Many short records in little more memory than their own bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator


class Bag:
    """A multiset of byte strings of one length, taken out by how they begin.

    They should begin with a hash: the first byte says where a record lies, and each of the 256
    places is sorted when it is first asked.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heaps = [bytearray() for _ in range(256)]
        self._unsorted = bytearray(256)

    def __len__(self) -> int:
        return sum(map(len, self._heaps)) // self._size

    def __iter__(self) -> Iterator[bytes]:
        for heap in self._heaps:
            yield from self._records(heap)

    def add(self, record: bytes) -> None:
        self._heaps[record[0]] += record
        self._unsorted[record[0]] = True

    def starting(self, start: bytes, most: int) -> list[bytes]:
        """The first records that begin so, at most that many."""
        heap, at = self._find(start)
        found: list[bytes] = []
        while len(found) < most and heap[at : at + len(start)] == start:
            found.append(bytes(heap[at : at + self._size]))
            at += self._size
        return found

    def take(self, start: bytes) -> bytes | None:
        """Remove the first record that begins so, and return it."""
        heap, at = self._find(start)
        if heap[at : at + len(start)] != start:
            return None
        record = bytes(heap[at : at + self._size])
        del heap[at : at + self._size]
        return record

    def _find(self, start: bytes) -> tuple[bytearray, int]:
        heap, size = self._heaps[start[0]], self._size
        if self._unsorted[start[0]]:
            heap[:] = b"".join(sorted(self._records(heap)))
            self._unsorted[start[0]] = False

        def beginning(place: int) -> bytes:
            return bytes(heap[place * size : place * size + len(start)])

        return heap, size * bisect_left(range(len(heap) // size), start, key=beginning)

    def _records(self, heap: bytearray) -> Iterator[bytes]:
        return (bytes(heap[at : at + self._size]) for at in range(0, len(heap), self._size))
