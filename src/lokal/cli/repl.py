"""Reading turn by turn, from a person at a terminal or from a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lokal.cli import slash
from lokal.cli.message import QUOTES, unfinished
from lokal.cli.output import note
from lokal.cli.prompt_input import MAX_BYTES, utf8
from lokal.cli.session import Session
from lokal.cli.terminal import held
from lokal.cli.transcripts import PRIVATE
from lokal.errors import LokalError, UsageError

if TYPE_CHECKING:
    from lokal.cli.keyboard import Keyboard


def with_person(session: Session) -> int:
    """Converse with a person until they leave (Ctrl-D, /bye); returns the exit code."""
    from lokal.cli.keyboard import Keyboard

    session.options.say(_banner(session))
    keyboard = Keyboard(_history(session), session.options.say)
    with held(), contextlib.closing(keyboard), contextlib.suppress(EOFError):
        while True:
            # Some press Ctrl-C more than once; then it comes while the first one is told.
            with contextlib.suppress(KeyboardInterrupt):
                _turn(session, keyboard)
    return 0


def _turn(session: Session, keyboard: Keyboard) -> None:
    try:
        slash.take(session, keyboard.read())
    except KeyboardInterrupt:
        if keyboard.was_idle:
            note("Ctrl-D or /bye leaves")
    except LokalError as error:
        _told(session, error)


def _told(session: Session, error: LokalError) -> None:
    """A failure that leaves nothing to go on with is for others to tell."""
    if session.lost:
        raise error
    session.tell(error)


def from_pipe(session: Session) -> int:
    """Take each line as a turn, up to the end of the input.

    A turn that fails is told and left out; the exit code is the first such failure's.

    Raises:
        UsageError: a turn that is too large; whatever comes after it is not read.
        KeyboardInterrupt: Ctrl-C; what was written stays.
    """
    code = 0
    try:
        for turn in _turns():
            try:
                text = utf8(turn, "a turn of standard input")
                slash.take(session, text.removesuffix("\n").removesuffix("\r"))
            except LokalError as error:
                _told(session, error)
                code = code or error.exit_code
    except EOFError:  # /bye
        pass
    return code


def _turns() -> Iterator[bytes]:
    """Lines of standard input; what stands between triple quotes is one turn."""
    if sys.stdin is None:
        return
    read, quotes = sys.stdin.buffer.readline, QUOTES.encode()
    while line := read(MAX_BYTES + 1):
        turn = bytearray(line)
        if unfinished(line.decode("utf-8-sig", "replace")):
            while len(turn) <= MAX_BYTES and (line := read(MAX_BYTES + 1)):
                turn += line
                if line.rstrip().endswith(quotes):
                    break
        if len(turn) > MAX_BYTES:
            raise UsageError(
                f"a turn of standard input has more than {MAX_BYTES // 2**20} MiB",
                hint="no context holds that much",
            )
        yield bytes(turn)


def _banner(session: Session) -> str:
    weights = session.model.weights
    known = weights.entry.license.name if weights.entry else weights.header.license
    quant = f" ({weights.header.quantization})" if weights.header.quantization else ""
    licence = known or "licence unknown"
    n_ctx = session.model.context.n_ctx
    return f"{weights.name}{quant} · {licence} · {n_ctx} tokens of context · /help lists commands"


def _history(session: Session) -> Path | None:
    """The file that remembers what was typed, readable for this user only; None for none."""
    if not session.options.history:
        return None
    path = session.surroundings.state_dir / "chat_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
        path.chmod(PRIVATE)
    except OSError as error:
        session.options.say(f"note: cannot keep a history in {path}: {error.strerror}")
        return None
    return path
