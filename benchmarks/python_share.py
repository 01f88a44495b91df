"""Runs `llm` with a clock on llama.cpp: how long it was in there, and how long it was not.

    python benchmarks/python_share.py CLOCK batch MODEL rows.jsonl -o out.jsonl ...

Every native function that the engine can call is wrapped. Counted is the time from the first
forward pass to the end of the last native call. llama.cpp's share of it is when at least one thread
is inside a native function, and not in a Python callback of it; the rest is ours: Python, waiting
for the disk, and what the wrapping costs. Loading is outside. The file CLOCK gets a JSON object:
seconds `python` and `wall`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Clock:
    """Adds up the time during which any thread is in native code."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._entered = 0.0
        self.first: float | None = None
        self.last = 0.0
        self.native = 0.0

    def move(self, step: int) -> None:
        """A thread goes into native code (1), or out of it (-1)."""
        with self._lock:
            now = time.perf_counter()
            if not self._inside:
                self._entered = now
            self._inside += step
            if not self._inside and self.first is not None:
                self.native += now - max(self._entered, self.first)
                self.last = now

    def start(self) -> None:
        """Count from now on, if not yet."""
        if self.first is None:
            self.first = time.perf_counter()


def main() -> int:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `llm` does
    from lokal.cli.outcome import exit_code
    from lokal.engine.llama import native_library

    clock = Clock()
    lib, _ = native_library()
    for name in dir(lib):
        function = getattr(lib, name)
        # The types of callbacks have such names too, and are wrapped from within.
        if name.startswith(("llama_", "ggml_")) and callable(function):
            if not isinstance(function, type):
                setattr(lib, name, _timed(function, clock, first=name == "llama_decode"))
            elif name.endswith("_callback"):
                setattr(lib, name, _callback(function, clock))
    code = exit_code(sys.argv[2:])
    if clock.first is None:
        raise SystemExit("no forward pass was seen")
    wall = clock.last - clock.first
    Path(sys.argv[1]).write_text(json.dumps({"python": wall - clock.native, "wall": wall}))
    return code


def _timed(function: Callable[..., Any], clock: Clock, *, first: bool) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        if first:
            clock.start()
        clock.move(1)
        try:
            return function(*arguments)
        finally:
            clock.move(-1)

    return timed


def _callback(kind: type, clock: Clock) -> Callable[..., Any]:
    """The callback type, whose functions stop the clock while they run."""

    def make(*arguments: Any) -> Any:
        if not arguments or not callable(arguments[0]):
            return kind(*arguments)
        function = arguments[0]

        def outside(*values: Any) -> Any:
            clock.move(-1)
            try:
                return function(*values)
            finally:
                clock.move(1)

        return kind(outside)

    return make


if __name__ == "__main__":
    sys.exit(main())
