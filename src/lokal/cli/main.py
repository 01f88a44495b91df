"""Entry point of `llm`: the one place where failures become messages and exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import NoReturn

from lokal.cli.output import ReaderGone, note, show_error, silence
from lokal.errors import LokalError

EXIT_INTERRUPTED, EXIT_READER_GONE = 130, 141


def main() -> NoReturn:
    """Entry point of `llm` and `lokal`."""
    # Importing makes a hundred thousand objects and next to no garbage; looking for some takes a
    # twentieth of a start. The collector is on again once everything is imported.
    gc.disable()
    # GNU OpenMP lets threads spin for milliseconds at each barrier. When other programs want the
    # cores too, that is what they spin away: a hundred times the work of a small model.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    code = _exit_code(sys.argv[1:])
    # All is written and told; neither a late Ctrl-C nor a last flush may add to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence()
    sys.exit(code)


def _exit_code(arguments: list[str]) -> int:
    # Looked up in the raw arguments, because the command line itself may be what is wrong.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        try:
            # Imported here, so that Ctrl-C during a slow start is nothing special.
            from lokal.cli.app import invoke

            return invoke(arguments, options)
        except ReaderGone:
            raise
        except Exception as error:
            if "--debug" in options:
                import traceback

                for line in traceback.format_exc().splitlines():
                    note(line)
            known = error if isinstance(error, LokalError) else _bug(error)
            show_error(known, as_json="--json" in options)
            return known.exit_code
    except ReaderGone:
        return EXIT_READER_GONE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _bug(error: Exception) -> LokalError:
    return LokalError(
        f"a bug in lokal: {type(error).__name__}: {error}",
        hint="please report it, with the traceback that --debug shows",
    )
