"""The terminal itself: who is there, and the state that it must be left in."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Pastes come as keys and text looks plain, as every program expects that knows of neither.
USUAL = b"\x1b[?2004l\x1b[0m"


class Converse(Exception):  # noqa: N818 - not an error: somebody at a terminal gave no prompt
    """The command line is for `llm chat`, which takes it as it is."""


def someone_there() -> bool:
    """Whether a person types at a terminal and sees what is written."""
    return _is_terminal(sys.stdin) and (_is_terminal(sys.stdout) or _is_terminal(sys.stderr))


def _is_terminal(stream: object) -> bool:
    return stream is not None and bool(getattr(stream, "isatty", bool)())


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A terminal that keeps keys for the next prompt and does not show them meanwhile.

    While an answer is written the keys of a person who types ahead would else appear in the middle
    of it. The state is put back whatever happens, signals that end the process included.
    """
    try:
        import termios
    except ImportError:  # Windows has none, and echoes only what is read
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def restore() -> None:
        with contextlib.suppress(termios.error, OSError):
            # Not TCSAFLUSH, which forgets the keys.
            termios.tcsetattr(descriptor, termios.TCSANOW, before)

    def end(number: int, _frame: FrameType | None) -> None:
        restore()
        with contextlib.suppress(OSError):
            os.write(descriptor, USUAL + b"\r\n")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    quiet = termios.tcgetattr(descriptor)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    quiet[3] |= termios.NOFLSH  # Ctrl-C stops the answer and forgets no keys either
    signals = (signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.signal(number, end) for number in signals]
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        restore()
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def on_ctrl_c(handler: Any) -> Iterator[None]:
    """Another handler for a while; none may raise in the middle of an engine that is to go on."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
