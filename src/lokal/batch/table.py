"""CSV with a header, as RFC 4180 has it: commas, `"` around a field, `""` for a quote in one.

A field in quotes may hold commas and newlines. A file named .tsv has tabs between its fields.
Names in the header lose the white space around them; empty lines count for nothing. The columns
`prompt`, `id` and `system` mean what they mean in a JSON row, an empty id or system is none; every
column is a field for `--template`, as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from lokal.batch.jsonl import too_long
from lokal.batch.lines import Line
from lokal.batch.record import Record, listing
from lokal.batch.template import Template
from lokal.errors import UsageError

MAX_RECORD = 16 * 2**20  # bytes; Python's reader takes four to eight times as much for a field


def records(
    lines: Iterator[Line], name: str, delimiter: str, template: Template | None
) -> Iterator[Record]:
    """Yield a record for each row below the header.

    Raises:
        UsageError: the header is broken, or lacks a column that every row needs.
    """
    import csv

    csv.field_size_limit(max(MAX_RECORD, csv.field_size_limit()))
    feed = _Feed(lines)
    # Strict: what RFC 4180 does not allow is an error, not a guess.
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        feed.begin()
        cells, error = [], None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UsageError as flaw:
            error = flaw
        except csv.Error as flaw:
            what = str(flaw).partition(" - ")[0]  # what follows is about Python
            if what == "unexpected end of data":
                what = "a quote that opens here is never closed, so all that follows is in this row"
            error = UsageError(f"broken CSV: {what}", hint='write " in a quoted field as ""')
        error = error or feed.flaw
        if not cells and not error:
            continue
        if not header:
            header = _header(cells, error, name, template)
            continue
        if not error and len(cells) != len(header):
            error = UsageError(
                f"{len(cells)} fields, but {len(header)} in the header",
                hint="put fields that hold a delimiter or a newline in quotes",
            )
        fields = dict(zip(header, cells, strict=not error))
        asks = {k: fields[k] for k in ("id", "system") if fields.get(k)}
        if "prompt" in fields:
            asks["prompt"] = fields["prompt"]
        yield Record(feed.line, feed.end, feed.digest, asks, fields, error)


class _Feed:
    """Lines for Python's reader, which takes as many as a record has.

    An error does not end it: the reader begins a new record with the next line.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.end = 0
        self.begin()

    def begin(self) -> None:
        """The next line begins a record."""
        self.line = 0
        self.flaw: UsageError | None = None
        self._size = 0
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.line = self.line or line.number
        self.end = line.end
        self._digest.update(line.skipped.encode() or line.data)
        self._size += len(line.data)
        if line.skipped or self._size > MAX_RECORD:
            raise too_long(MAX_RECORD)
        try:
            return line.data.decode()
        except UnicodeDecodeError as error:
            self.flaw = UsageError(
                f"not valid UTF-8 (byte {error.start + 1} of line {line.number})",
                hint="convert it, for example with iconv",
            )
            return line.data.decode(errors="surrogateescape")


def _header(
    cells: list[str], error: UsageError | None, name: str, template: Template | None
) -> list[str]:
    if error:
        raise UsageError(f"the header of {name}: {error.message}", hint=error.hint)
    names = [cell.strip() for cell in cells]
    columns = dict.fromkeys(names)
    if len(columns) < len(names):
        raise UsageError(
            f"{name} has two columns of one name: {listing(columns)}", hint="rename one of them"
        )
    wanted = template.names if template else ["prompt"]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise UsageError(
            f"{name} has no column {missing[0]!r}; its columns are: {listing(columns)}",
            hint="fix the name in --template"
            if template
            else "say what to ask: --template 'Summarise: {column}'; columns end at commas",
        )
    return names
