"""What an earlier run left: which rows are done, and under which settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from lokal.batch.bag import Bag
from lokal.batch.disk import Lines
from lokal.errors import UsageError

STARTS = b'{"id"'  # every row does, so that a torn one is told from somebody else's text
IN_FILE = -1

_RESTART = "--restart starts over, or choose another file with -o"


class Result(NamedTuple):
    """What a line of results says about its row."""

    number: int
    """Its place in the input, from 0."""
    id: str | int | None
    digest: bytes
    failed: bool
    model: str | None
    weights: str | None
    fingerprint: str | None

    @classmethod
    def parse(cls, line: bytes) -> Result | None:
        """None for a line that is no row of ours."""
        try:
            row = json.loads(line.decode())
            index, id_, digest = row["index"], row["id"], bytes.fromhex(row["input_hash"])
            made = row["model"], row["weights"], row["fingerprint"]
            failed = row["finish_reason"] == "error"
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        fits = (
            line.endswith(b"\n")
            and len(digest) == 8
            and type(index) is int
            and 0 <= index < 1 << 64
            and (id_ is None or type(id_) in (str, int))
            and all(value is None or type(value) is str for value in made)
        )
        return cls(index, id_, digest, failed, *made) if fits else None


class Earlier(NamedTuple):
    """What is known of the rows that were there before."""

    rows: int = 0
    """Finished rows, without failed ones that are to be tried again."""
    failed: int = 0
    """How many of `rows` failed."""
    model: str | None = None
    weights: str | None = None
    fingerprint: str | None = None


class Ledger:
    """The finished rows, known by their input; 32 bytes a row.

    A row with an id is known by id and content, another by index and content. Of several rows
    that have both in common, each counts once.
    """

    def __init__(self) -> None:
        self._bag = Bag(32)

    def add(self, result: Result, place: int) -> None:
        """`place` is where the row begins in the side file, or IN_FILE."""
        key = _key(result.number, result.id)
        self._bag.add(key + result.digest + _where(place) + _bytes(result.number) + _offset(place))

    def take(self, index: int, id_: str | int | None, digest: str) -> tuple[int, bool] | None:
        """The place of a row that is done, and whether its content has changed since.

        It has changed, and is not another row, if the index is what it was and no other finished
        row has that id: ids need not be unique.
        """
        key, number = _key(index, id_), _bytes(index)
        same = key + bytes.fromhex(digest)
        # The file holds the first rows of the input, so twins in it go before those beside it.
        for where in (_where(IN_FILE), _where(0)):
            found = self._bag.take(same + where + number) or self._bag.take(same + where)
            if found:
                return _place(found), False
        namesakes = self._bag.starting(key, 2)
        if id_ is None or len(namesakes) != 1 or namesakes[0][17:25] != number:
            return None
        self._bag.take(key)
        return _place(namesakes[0]), True

    def __len__(self) -> int:
        return len(self._bag)

    def beside(self) -> list[int]:
        """Places in the side file of the rows that nobody has taken, in order."""
        places = (_place(record) for record in self._bag)
        return sorted(place for place in places if place != IN_FILE)


class Survey(NamedTuple):
    """An output file and its side file, read through but not touched."""

    earlier: Earlier = Earlier()
    stands: int = 0
    """Bytes of the file that stay as they are."""
    end: int = 0
    """Bytes of the file up to the end of its last whole row."""
    side_end: int = 0
    """The same of the side file."""
    fresh: Bag = Bag(9)
    """Lines of the side file that are not in the file as well, by their `mark`."""


def survey(file: Lines, side: Lines, ledger: Ledger, *, retry_errors: bool) -> Survey:
    """Read both files once; rows that stay in the file are entered in the ledger.

    Raises:
        UsageError: one of them holds something else than results, or their settings differ.
    """
    made: tuple[str | None, ...] | None = None
    fresh = Bag(9)
    side_end = 0
    for offset, line, result in results(side):
        side_end = offset + len(line)
        fresh.add(mark(line) + bytes([result.failed]))
        made = _same(made, result, file)
    rows = failed = end = 0
    stands = None
    for offset, line, result in results(file):
        end = offset + len(line)
        if side_end:
            start = mark(line)
            while fresh.take(start):
                pass
        made = _same(made, result, file)
        if retry_errors and result.failed:
            stands = offset if stands is None else stands
            continue
        rows += 1
        failed += result.failed
        if stands is None:
            ledger.add(result, IN_FILE)
    failed_beside = sum(record[8] for record in fresh)
    rows += len(fresh) - (failed_beside if retry_errors else 0)
    failed += 0 if retry_errors else failed_beside
    earlier = Earlier(rows, failed, *(made or ()))
    return Survey(earlier, end if stands is None else stands, end, side_end, fresh)


def results(
    lines: Lines, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, bytes, Result]]:
    """Rows with the places where they begin; a last one that is torn is left out.

    Raises:
        UsageError: there is something else in the file.
    """
    stop = lines.end if stop is None else stop
    for number, (offset, line) in enumerate(lines.lines(start), 1):
        if offset >= stop:
            return
        result = Result.parse(line) if line.startswith(b"{") else None
        if result is not None:
            yield offset, line, result
        elif offset + len(line) < stop or not _is_torn(line):
            raise UsageError(
                f"line {number} of {lines.path} is no result row",
                hint="remove that line, and nothing else is lost; --restart starts over",
            )


def mark(line: bytes) -> bytes:
    """Eight bytes that a line is known by."""
    return blake2b(line, digest_size=8).digest()


def _is_torn(line: bytes) -> bool:
    """Whether a bad last line is the beginning of a row, or what a crash of the machine leaves.

    A line that is JSON to its end is not torn, it is somebody else's; but for a row that lacks
    nothing but its newline.
    """
    line = line.strip(b"\0\n")
    if line[: len(STARTS)] != STARTS[: len(line)]:
        return False
    try:
        json.loads(line.decode())
    except (ValueError, RecursionError):
        return True
    return Result.parse(line + b"\n") is not None


def _same(
    made: tuple[str | None, ...] | None, result: Result, file: Lines
) -> tuple[str | None, ...]:
    if made is not None and made[1:] != (result.weights, result.fingerprint):
        raise UsageError(f"{file.path} holds rows of different settings", hint=_RESTART)
    return made or (result.model, result.weights, result.fingerprint)


def _key(index: int, id_: str | int | None) -> bytes:
    # As JSON, the text "1" and the number 1 are two ids, and neither looks like an index.
    name = f"#{index}" if id_ is None else json.dumps(id_)
    return mark(name.encode())


def _bytes(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _where(place: int) -> bytes:
    return b"\0" if place == IN_FILE else b"\1"


def _offset(place: int) -> bytes:
    return max(place, 0).to_bytes(7, "big")


def _place(record: bytes) -> int:
    in_file = record[16:17] == _where(IN_FILE)
    return IN_FILE if in_file else int.from_bytes(record[25:], "big")
