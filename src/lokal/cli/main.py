"""Entry point of `llm`: it imports next to nothing before Ctrl-C is taken care of."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import NoReturn

EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Entry point of `llm` and `lokal`."""
    try:
        # Importing makes a hundred thousand objects and next to no garbage; looking for some takes
        # a twentieth of a start. The collector is on again once everything is imported.
        gc.disable()
        # GNU OpenMP lets threads spin for milliseconds at each barrier. When other programs want
        # the cores too, that is what they spin away: a hundred times the work of a small model.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        from lokal.cli.outcome import exit_code

        code = exit_code(sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    # All is written and told; neither a late Ctrl-C nor a last flush may add to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from lokal.cli.output import flush

    flush()
    # Nothing is left to do, and taking the interpreter apart takes as long as loading a model.
    os._exit(code)
