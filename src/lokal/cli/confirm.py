"""The question before something is removed."""

from __future__ import annotations

import sys

from lokal.errors import UsageError

DECLINED = 130  # exit code, as for Ctrl-C: the person at the terminal has stopped it


def confirmed(question: str, yes: bool) -> bool:
    """Ask at the terminal; `yes` is -y.

    Raises:
        UsageError: nobody is there to ask.
    """
    if yes:
        return True
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise UsageError(
            "nobody is there to be asked (this is no terminal)",
            hint="-y removes without asking, --dry-run only shows",
        )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
