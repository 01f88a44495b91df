"""JSON lines: one object a line; blank lines count for nothing.

Stricter than Python's own reader wherever a row would otherwise mean something else than it says:
a key twice, NaN and infinities, half of a surrogate pair, and what is nested or long beyond use.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any

from lokal.batch.lines import MAX_LINE, Line
from lokal.batch.record import Record
from lokal.errors import UsageError

MAX_DEPTH = 200  # far below Python's recursion limit, wherever we are called from
MAX_DIGITS = 300  # what still fits a floating-point number


def records(lines: Iterator[Line], name: str) -> Iterator[Record]:
    """Yield a record for each line that is not blank.

    Raises:
        UsageError: it is one JSON value over many lines, or one array.
    """
    first = True
    for line in lines:
        if line.blank:
            continue
        if first:
            _check_start(line.data.strip(), name)
            first = False
        yield _record(line)


def _check_start(data: bytes, name: str) -> None:
    if data.startswith(b"["):
        raise UsageError(
            f"{name} is one JSON array, not JSON lines",
            hint="write one object a line: jq -c '.[]' FILE",
        )
    if data == b"{":
        raise UsageError(
            f"{name} is JSON spread over lines, not JSON lines",
            hint="write one object a line: jq -c . FILE",
        )


def _record(line: Line) -> Record:
    if line.skipped:
        return Record(line.number, line.end, line.digest, error=too_long(MAX_LINE))
    value: Any = None
    error: UsageError | None
    try:
        value, error = parse(line.data.rstrip(b"\r\n"))
        if not isinstance(value, dict):
            raise UsageError("not a JSON object", hint='give {"prompt": "…"}')
    except UsageError as flaw:
        return Record(line.number, line.end, line.digest, error=flaw)
    return Record(line.number, line.end, line.digest, value, value, error)


def too_long(limit: int) -> UsageError:
    """What to say of a row with more than `limit` bytes."""
    return UsageError(f"more than {limit // 2**20} MiB", hint="no context holds that much")


def parse(data: bytes) -> tuple[Any, UsageError | None]:
    """The value that a line holds, and what is wrong with it although it can be read.

    Raises:
        UsageError: it cannot be read.
    """
    flaws: list[UsageError] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = [key for key, count in counts.items() if count > 1]
            flaws.append(UsageError(f"the key {twice[0]!r} stands there twice", hint="remove one"))
            for key in twice:  # which of its values holds, nobody can say
                del value[key]
        return value

    def whole(digits: str) -> int | None:
        if len(digits) > MAX_DIGITS:
            flaws.append(
                UsageError(f"a number with {len(digits)} digits", hint="write it as a text")
            )
            return None
        return int(digits)

    def real(digits: str) -> float | None:
        value = float(digits)
        if isfinite(value):
            return value
        constant(digits)
        return None

    def constant(word: str) -> None:
        flaws.append(
            UsageError(f"{word[:20]} is no finite number", hint="leave it out, or write null")
        )

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        flaws.append(bad_utf8(error))
        text = data.decode(errors="surrogateescape")
    decoder = json.JSONDecoder(
        object_pairs_hook=unique, parse_int=whole, parse_float=real, parse_constant=constant
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        if flaws:
            raise flaws[0] from None
        what = error.msg.removesuffix(" at")
        raise UsageError(
            f"broken JSON: {what} at column {error.colno}", hint="mend that line"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _too_deep()
    if b"\\ud" in data.lower() and not is_text(json.dumps(value, ensure_ascii=False)):
        flaws.append(
            UsageError("half of a surrogate pair (\\ud800 to \\udfff)", hint="mend that escape")
        )
    return value, flaws[0] if flaws else None


def bad_utf8(error: UnicodeDecodeError) -> UsageError:
    """What to say of a line that Python could not decode."""
    return UsageError(
        f"not valid UTF-8 (byte {error.start + 1})", hint="convert it, for example with iconv"
    )


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> UsageError:
    return UsageError(f"nested more than {MAX_DEPTH} levels deep", hint="flatten that row")


def _depth(value: Any) -> int:
    """How many containers stand in one another; without recursion, which is what it guards."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [item for box in level for item in (box.values() if isinstance(box, dict) else box)]
    return depth
