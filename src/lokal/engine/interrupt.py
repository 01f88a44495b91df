"""Ctrl-C while native code runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """A request to stop that native code can be asked to obey.

    Python runs signal handlers between bytecodes only, so during a native call the first chance
    is a callback from it; an exception raised there would be lost. `listening` therefore replaces
    the handler that raises by one that takes a note.
    """

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        self.requested = True

    def check(self) -> None:
        """Raises: KeyboardInterrupt: a stop was requested; the request is then taken back."""
        if self.requested:
            self.requested = False
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note Ctrl-C instead of raising; a second one raises. Others' handlers stay."""
        ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if not ours:
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
