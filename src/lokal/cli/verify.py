"""`llm verify`: are the weights on this machine what they were published as?"""

from __future__ import annotations

import time
from functools import partial

from lokal.cli import options as opt
from lokal.cli.output import human_bytes, note
from lokal.hub.progress import Progress

BIG = 10**9  # bytes; smaller files are hashed before anybody wonders
INTERVAL = 5.0  # seconds between two lines about one file


def verify(
    model: opt.SomeCachedModels = None,
    repair: opt.Repair = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> int | None:
    """Compare weights with their checksums; exit 7 if one is damaged."""
    from lokal import settings
    from lokal.cli.output import show_error, write_json, write_lines
    from lokal.cli.ui import progress
    from lokal.errors import IntegrityError
    from lokal.verification import verify

    surroundings = settings.load()
    hashing, fetching = (
        (Progress, Progress) if quiet else (Hashing, partial(progress, surroundings))
    )
    verdicts = []
    for verdict in verify(model, surroundings, hashing(), fetching if repair else None):
        verdicts.append(verdict)
        if not json:
            write_lines([f"{verdict.status:<9} {verdict.name}  {verdict.problem or ''}".rstrip()])
    if json:
        write_json([{**vars(verdict), "path": str(verdict.path)} for verdict in verdicts])
    damaged = [verdict.name for verdict in verdicts if verdict.status == "damaged"]
    if not damaged:
        return None
    hint = "--repair fetches it again"
    if repair:
        hint = "no download mends what is left: remove it, or replace it yourself"
    error = IntegrityError(f"{len(damaged)} of {len(verdicts)} files are damaged", hint=hint)
    show_error(error, as_json=False)
    return error.exit_code


class Hashing(Progress):
    """A line for a big file, and another one every few seconds."""

    def begin(self, file: str, size: int) -> None:
        self._file, self._size, self._next = file, size, time.monotonic() + INTERVAL
        if size > BIG:
            note(f"hashing {file} ({human_bytes(size)})")

    def at(self, done: int) -> None:
        if self._size > BIG and time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            note(f"{self._file}: {done / self._size:.0%}")
