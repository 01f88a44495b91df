"""llama.cpp's log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class NativeLog:
    """The log callback: keeps the last lines, and shows them only on request.

    `callback` is its native twin, which ctypes does not keep alive by itself.
    """

    INFO, WARN, ERROR, CONTINUED = 2, 3, 4, 5  # enum ggml_log_level

    def __init__(self) -> None:
        self.echo: Callable[[str], object] | None = None
        self.callback: Any = None
        self._lines: deque[tuple[int, str]] = deque(maxlen=200)
        self._level = 0

    def __call__(self, level: int, text: bytes | None, _user_data: object) -> None:
        self._level = self._level if level == self.CONTINUED else level
        line = (text or b"").decode("utf-8", "replace").strip()
        if self._level < self.INFO or not line:
            return
        self._lines.append((self._level, line))
        if self.echo:
            self.echo(line)

    def clear(self) -> None:
        self._lines.clear()

    @property
    def lines(self) -> list[str]:
        """The last lines since `clear`."""
        return [line for _, line in self._lines]

    @property
    def lacked_memory(self) -> bool:
        """Whether memory was refused: a device says so in its own words, llama.cpp after it."""
        said = "unable to allocate", "failed to allocate", "bad_alloc"
        return any(words in line for line in self.lines for words in said)

    def last_words(self) -> str:
        """The first complaint since `clear`: llama.cpp names the cause first, its callers later."""
        for wanted in (self.ERROR, self.WARN):
            for level, line in self._lines:
                if level == wanted:
                    return line.split("error loading model: ")[-1]
        return "llama.cpp gave no reason"
