"""Native code in a process of its own: a driver that crashes or hangs takes nobody along."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from lokal.errors import LokalError


class ChildError(Exception):
    """The child gave no answer; the words are for a finding."""

    def __init__(self, message: str, hint: str, exit_code: int = LokalError.exit_code) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code


class CrashError(ChildError):
    """The child died."""


class SilentError(ChildError):
    """The child was not done in time."""


def ask(module: str, *arguments: str, seconds: float) -> Any:
    """What a module prints as JSON when it runs as a program.

    Raises:
        SilentError: it took too long, and was ended.
        CrashError: it died.
        ChildError: it says itself what went wrong.
    """
    # -P: a json.py in the current directory is nobody's module.
    argv = [sys.executable, "-P", "-m", module, *arguments]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise SilentError(
            f"not done within {seconds:.0f} seconds",
            "run `llm doctor` again: the first use of a device prepares it",
        ) from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise CrashError(_how(done), "update the driver and llama-cpp-python") from None
    if isinstance(answer, dict) and "error" in answer:
        raise ChildError(*answer["error"])
    return answer


def reply(make: Callable[[], Any]) -> None:
    """Print what `ask` reads: a value, or why there is none."""
    try:
        answer = make()
    except LokalError as error:
        answer = {"error": [error.message, error.hint, error.exit_code]}
    except Exception as error:
        why = f"{type(error).__name__}: {error}".replace("\n", " ")
        answer = {"error": [why, "install llama-cpp-python again", LokalError.exit_code]}
    sys.stdout.write(json.dumps(answer) + "\n")


def _how(done: subprocess.CompletedProcess[bytes]) -> str:
    """How a process ended, and its last words."""
    code = done.returncode
    try:
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        ended = f"signal {-code}"
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"crashed ({ended}{': ' + words[-1] if words else ''})"
