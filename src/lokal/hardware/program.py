"""Other programs, for which nobody waits for ever."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple


class Ended(NamedTuple):
    """How a program ended, and what it wrote; `code` is negative for a signal."""

    code: int
    output: bytes
    errors: bytes


def run(command: Sequence[str], seconds: float) -> Ended:
    """Run a program to its end, and no longer.

    Its standard input is a pipe that stays empty and open; it ends when we do, however that is.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it took too long, and was killed; it may live on where a driver holds it.
    """
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    # communicate() closes what it knows as standard input at once.
    ours, child.stdin = child.stdin, None
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        if child.returncode is None:
            child.kill()
            # One that waits for a driver cannot be killed.
            with suppress(subprocess.TimeoutExpired):
                child.wait(1)
        for stream in (ours, child.stdout, child.stderr):
            if stream:
                stream.close()
    return Ended(child.returncode, output, errors)
