"""How a command ends: the one place where failures become messages and exit codes."""

from __future__ import annotations

from lokal.cli.output import ReaderGone, show_error, show_traceback
from lokal.errors import LokalError

EXIT_READER_GONE = 141


def exit_code(arguments: list[str]) -> int:
    """Run the command line; what went wrong is told, and becomes the number.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    # Looked up in the raw arguments, because the command line itself may be what is wrong.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        try:
            from lokal.cli.app import invoke  # a broken installation is an error like any other

            return invoke(arguments, options)
        except ReaderGone:
            raise
        except Exception as error:
            if "--debug" in options:
                show_traceback(error)
            known = error if isinstance(error, LokalError) else _bug(error)
            show_error(known, as_json="--json" in options)
            return known.exit_code
    except ReaderGone:
        return EXIT_READER_GONE


def _bug(error: Exception) -> LokalError:
    return LokalError(
        f"a bug in lokal: {type(error).__name__}: {error}",
        hint="please report it, with the traceback that --debug shows",
    )
