"""The rows of a batch, read as they come.

The format is known by the name: .jsonl, .ndjson and .json are JSON lines, .csv and .tsv tables,
.txt and .text plain text, one prompt a line. Without such a name the first line that is not blank
decides: JSON lines begin with a brace, everything else is plain text. Rows of an OpenAI batch may
stand among JSON lines, each is known by its `custom_id` and its `body` with `messages`.

A row that is wrong in itself does not end the reading: it comes out with its `error`. In plain
text a blank line is such a row, for N lines give N rows; in JSON lines and CSV it is no row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import PurePath
from typing import Any, BinaryIO, NamedTuple

from lokal.batch import content, jsonl, openai, table
from lokal.batch.lines import MAX_LINE, Line, lines
from lokal.batch.record import Record
from lokal.batch.template import Template
from lokal.engine.chat import Message
from lokal.engine.constraint import Grammar
from lokal.errors import LokalError, UsageError

FORMATS = ("auto", "jsonl", "text", "csv", "openai")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".text": "text",
}
MAX_BLANK = 1000  # blank lines that are held until it is clear what they belong to
MAX_MESSAGE = 300  # characters of an error that may quote the row

# An array of rows; "[INST] …" and "[1] …" are prompts.
_ARRAY = re.compile(rb'\s*\[\s*([{"\[]|$)')


class Row(NamedTuple):
    """One row of the input.

    `index` counts rows from 0, `line` is where it begins, from 1; `end` counts the bytes of the
    input up to and including it. `overrides` are fields of `SamplingParams`. `digest` is 16 hex
    digits over what it asks for, or over its bytes if it has an `error`; then it has no messages.
    """

    index: int  # type: ignore[assignment] # the contract's word; nobody looks a row's fields up
    line: int
    id: str | int | None
    messages: tuple[Message, ...] = ()
    overrides: Mapping[str, Any] = {}
    seed: int | None = None
    grammar: Grammar | None = None
    digest: str = ""
    error: LokalError | None = None
    end: int = 0


class ReadOptions(NamedTuple):
    """What the user says of the input; `format` is one of `FORMATS`."""

    format: str = "auto"
    template: str | None = None
    system: str | None = None


def read(source: BinaryIO, name: str, options: ReadOptions | None = None) -> Iterator[Row]:
    """Yield the rows, each as soon as its last line is here; nothing is kept of those before.

    `name` is the file's, for the format and for messages.

    Raises:
        UsageError: at once, for options that no input fits; while reading, for an input that
            cannot be read or is none of the formats as a whole.
    """
    options = options or ReadOptions()
    if options.format not in FORMATS:
        raise UsageError(
            f"no input format {options.format!r}", hint=f"choose from {', '.join(FORMATS)}"
        )
    template = None if options.template is None else Template(options.template)
    return _rows(lines(source, name), name, options, template)


def _rows(
    source: Iterator[Line], name: str, options: ReadOptions, template: Template | None
) -> Iterator[Row]:
    form = options.format
    if form == "auto":
        form = SUFFIXES.get(PurePath(name).suffix.lower(), "")
    if not form:
        form, source = _sniff(source)
    if form == "csv":
        delimiter = "\t" if name.lower().endswith(".tsv") else ","
        records = table.records(source, name, delimiter, template)
    elif form == "text":
        records = _text_records(source, template)
    else:
        records = jsonl.records(source, name)
    for index, record in enumerate(records):
        is_openai = form == "openai" or openai.is_request(record.asks)
        yield _row(index, record, is_openai, options.system, template)


def _sniff(source: Iterator[Line]) -> tuple[str, Iterator[Line]]:
    """The format of what begins like this, and all of its lines."""
    seen = []
    for line in source:
        seen.append(line)
        if not line.blank or len(seen) > MAX_BLANK:
            break
    start = seen[-1].data if seen else b""
    is_json = start.lstrip().startswith(b"{") or _ARRAY.match(start)
    return "jsonl" if is_json else "text", chain(seen, source)


def _text_records(source: Iterator[Line], template: Template | None) -> Iterator[Record]:
    for name in template.names if template else []:
        if name != "prompt":
            raise UsageError(
                f"plain text has no field {name!r}",
                hint="{} stands for the line; otherwise say --input-format jsonl or csv",
            )
    for line in source:
        error = jsonl.too_long(MAX_LINE) if line.skipped else None
        fields = {}
        try:
            fields["prompt"] = line.data.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as flaw:
            error = error or jsonl.bad_utf8(flaw)
        if line.blank:
            error = UsageError("the prompt is empty", hint="remove blank lines: grep . FILE")
        yield Record(line.number, line.end, line.digest, fields, fields, error)


def _row(
    index: int, record: Record, is_openai: bool, system: str | None, template: Template | None
) -> Row:
    given = record.asks.get("custom_id" if is_openai else "id")
    known = isinstance(given, str | int) and not isinstance(given, bool)
    identity = given if known and jsonl.is_text(str(given)) else None
    try:
        if record.error:
            raise record.error
        if given is not None and not known:
            raise UsageError("the id is neither a text nor a whole number", hint="put it in quotes")
        asked = (openai if is_openai else content).from_row(record, template, system)
    except UsageError as flaw:
        message = f"line {record.line}: {flaw.message}"
        if len(message) > MAX_MESSAGE:
            message = message[:MAX_MESSAGE] + "…"
        error = type(flaw)(message, hint=flaw.hint)
        return Row(
            index, record.line, identity, digest=record.digest[:16], error=error, end=record.end
        )
    return Row(
        index,
        record.line,
        identity,
        asked.messages,
        asked.overrides,
        asked.seed,
        asked.grammar,
        asked.digest(),
        end=record.end,
    )
