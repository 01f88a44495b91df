"""Native code in a process of its own: a driver that crashes or hangs takes nobody along."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any

from lokal.errors import LokalError
from lokal.hardware.program import Ended, run


class ChildError(Exception):
    """The child gave no answer; the words are for a finding."""

    def __init__(self, message: str, hint: str, exit_code: int = LokalError.exit_code) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code


class SilentError(ChildError):
    """The child was not done in time."""


def ask(module: str, *arguments: str, seconds: float) -> Any:
    """What a module prints as JSON when it runs as a program.

    Raises:
        SilentError: it took too long, and was ended.
        ChildError: it cannot be started, it died, or it says itself what went wrong.
    """
    # -P: a json.py in the current directory is nobody's module.
    argv = [sys.executable, "-P", "-m", module, *arguments]
    try:
        ended = run(argv, seconds)
    except TimeoutError:
        raise SilentError(
            f"not done within {seconds:.0f} seconds",
            "run `llm doctor` again: the first use of a device prepares it",
        ) from None
    except OSError as error:
        raise ChildError(
            f"no process can be started: {error.strerror}", "end what else runs here"
        ) from None
    try:
        answer = json.loads(ended.output.splitlines()[-1])
    except (ValueError, IndexError):
        raise ChildError(_how(ended), "update the driver and llama-cpp-python") from None
    if isinstance(answer, dict) and "error" in answer:
        raise ChildError(*answer["error"])
    return answer


def reply(make: Callable[[], Any]) -> None:
    """Print what `ask` reads: a value, or why there is none; end when nobody waits for it."""
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = make()
    except LokalError as error:
        answer = {"error": [error.message, error.hint, error.exit_code]}
    except Exception as error:
        why = f"{type(error).__name__}: {error}".replace("\n", " ")
        answer = {"error": [why, "install llama-cpp-python again", LokalError.exit_code]}
    sys.stdout.write(json.dumps(answer) + "\n")


def _end_with_parent() -> None:
    # The other end of standard input is closed when the parent is gone, killed or not.
    while os.read(0, 1):
        pass
    os._exit(1)


def _how(ended: Ended) -> str:
    """How a process ended, and its last words."""
    code = ended.code
    try:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        how = f"signal {-code}"
    words = ended.errors.decode("utf-8", "replace").strip().splitlines()
    return f"crashed ({how}{': ' + words[-1] if words else ''})"
