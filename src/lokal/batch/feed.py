"""Rows of the input as they come, without anybody waiting for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import Empty, Queue

from lokal.batch.rows import Row

AHEAD = 64  # rows that are read before somebody asks for them
PAUSE = 0.1  # seconds between two looks at whether to stop


class Feed:
    """Reads rows in a thread of its own: while a pipe is silent, those under way go on.

    The thread ends with the rows; it is not waited for, because a pipe may stay silent for ever.
    `check` is called with every row and now and then while waiting, and may raise.
    """

    def __init__(self, rows: Iterable[Row], check: Callable[[], object]) -> None:
        self._check = check
        self._queue: Queue[Row | BaseException | None] = Queue(AHEAD)
        self._ended = False
        threading.Thread(target=self._read, args=(rows,), name="rows", daemon=True).start()

    def get(self, *, wait: bool) -> Row | None:
        """The next row; None if none is here yet or, after waiting, if there are no more.

        Raises:
            UsageError: the input cannot be read.
            KeyboardInterrupt: from `check`.
        """
        if self._ended:
            return None
        while True:
            try:
                row = self._queue.get(wait, PAUSE)
                break
            except Empty:
                if not wait:
                    return None
                self._check()
        # Ctrl-C in a pipeline ends the input as well, and that is not to look like its end.
        self._check()
        if isinstance(row, BaseException):
            self._ended = True
            raise row
        self._ended = row is None
        return row

    def _read(self, rows: Iterable[Row]) -> None:
        try:
            for row in rows:
                self._queue.put(row)
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)
