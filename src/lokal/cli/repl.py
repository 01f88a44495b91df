"""Reading turn by turn, from a person at a terminal or from a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lokal.cli import slash
from lokal.cli.message import unfinished
from lokal.cli.output import note
from lokal.cli.prompt_input import MAX_BYTES, utf8
from lokal.cli.session import Session
from lokal.cli.terminal import held
from lokal.cli.transcripts import PRIVATE
from lokal.errors import LokalError

if TYPE_CHECKING:
    from lokal.cli.keyboard import Keyboard


def at_terminal(session: Session) -> int:
    """Converse with a person until they leave (Ctrl-D, /bye); returns the exit code."""
    from lokal.cli.keyboard import Keyboard

    session.options.say(_banner(session))
    keyboard = Keyboard(_history(session))
    with held(), contextlib.suppress(EOFError):
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
        session.tell(error)


def from_pipe(session: Session) -> int:
    """Take each line as a turn, up to the end of the input.

    A turn that fails is told and left out; the exit code is the first such failure's.

    Raises:
        KeyboardInterrupt: Ctrl-C; what was written stays.
    """
    code = 0
    try:
        for text in _turns():
            try:
                slash.take(session, text)
            except LokalError as error:
                session.tell(error)
                code = code or error.exit_code
    except EOFError:  # /bye
        pass
    return code


def _turns() -> Iterator[str]:
    """Lines of standard input; what stands between triple quotes is one turn."""
    if sys.stdin is None:
        return
    text = ""
    while line := sys.stdin.buffer.readline(MAX_BYTES):
        text += utf8(line, "standard input")
        if not unfinished(text):
            yield text.removesuffix("\n").removesuffix("\r")
            text = ""
    if text:
        yield text


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
