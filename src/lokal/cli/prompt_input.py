"""The prompt, from the command line, files and standard input."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lokal.errors import UsageError
from lokal.settings import expand

MAX_BYTES = 64 * 2**20  # more than any context holds; an endless pipe must end somewhere
SILENCE = 2.0  # seconds that a pipe may stay silent before we say that we wait for it


class PromptSource(NamedTuple):
    """What the user gave: `argument` may be None, `-`, or hold `{}` where stdin goes."""

    argument: str | None
    files: Sequence[str]
    stdin: bool

    def read(self, say: Callable[[str], object], *, needed: bool = True) -> str:
        """Put the prompt together: the argument, the files, standard input, a blank line between.

        Raises:
            UsageError: nothing to read although it is `needed`, too much of it, or not UTF-8.
        """
        argument = self.argument
        if argument is not None:
            check_text(argument, "the prompt")
        files = [read_text(name, "-f") for name in self.files]
        piped = read_stdin(say) if self.stdin and _is_input(argument) else None
        if argument == "-":
            argument = None
        if argument is not None and piped is not None and "{}" in argument:
            argument, piped = argument.replace("{}", piped), None
        prompt = "\n\n".join(part for part in (argument, *files, piped) if part)
        if needed and not prompt:
            raise UsageError(
                "the prompt is empty",
                hint='give one: llm run MODEL "Tell me a story", or pipe a text in',
            )
        return prompt


def _is_input(argument: str | None) -> bool:
    """Whether to read standard input; a person at a terminal is asked only by the prompt `-`."""
    return sys.stdin is not None and (argument == "-" or not sys.stdin.isatty())


def check_text(argument: str, name: str) -> None:
    """Raises: UsageError: an argument that is not UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:  # Python hands undecodable arguments on as lone surrogates
        raise UsageError(
            f"{name} is not valid UTF-8", hint="convert it, for example with iconv"
        ) from None


def read_text(name: str, option: str) -> str:
    """The text of a file that an option names, without the newline at its end.

    Raises:
        UsageError: it cannot be read, is too large, or not UTF-8.
    """
    path = expand(name)
    try:
        with path.open("rb") as file:
            return _decode(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=f"check the file given with {option}"
        ) from None


def read_stdin(say: Callable[[str], object]) -> str:
    """All of standard input; after a silent moment says that it waits.

    Raises:
        UsageError: it cannot be read, is too large, or not UTF-8.
    """
    notice = threading.Timer(
        SILENCE, say, ["note: waiting for standard input, an open pipe; --no-stdin ignores it"]
    )
    notice.daemon = True
    if not sys.stdin.isatty():
        notice.start()
    data = bytearray()
    try:
        while len(data) <= MAX_BYTES and (chunk := os.read(sys.stdin.fileno(), 2**16)):
            notice.cancel()
            data += chunk
    except OSError as error:
        raise UsageError(
            f"cannot read standard input: {error.strerror}", hint="--no-stdin ignores it"
        ) from None
    finally:
        notice.cancel()
        if notice.ident:
            notice.join()  # a thread in the middle of a write aborts an interpreter that ends
    return _decode(bytes(data), "standard input")


def _decode(data: bytes, name: str) -> str:
    """Text without byte-order mark and without the newline that ends every text file."""
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"{name} has more than {MAX_BYTES // 2**20} MiB", hint="no context holds that much"
        )
    return utf8(data, name).removesuffix("\n").removesuffix("\r")


def utf8(data: bytes, name: str) -> str:
    """Text without byte-order mark.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is not valid UTF-8 (byte {error.start})",
            hint="convert it, for example with iconv",
        ) from None
