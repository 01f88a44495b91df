"""LoRA adapters as they are asked for: a file, and how strongly it is to work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lokal.errors import UsageError

MAX_SCALE = 1000  # far beyond use; its square is still a number in 32 bits


class Lora(NamedTuple):
    """An adapter file; `scale` multiplies what it changes: 0 nothing, 1 as it was trained."""

    path: str
    scale: float = 1.0

    @property
    def file(self) -> Path:
        """With ~ and ~NAME resolved; an unknown NAME stays as it is."""
        return Path(os.path.expanduser(self.path))  # noqa: PTH111 - pathlib's own raises RuntimeError


def parse_lora(text: str) -> Lora:
    """`FILE[:SCALE]`; a last part that is no number belongs to the file's name.

    Raises:
        UsageError: no file is named, or the scale is out of range.
    """
    path, colon, tail = text.rpartition(":")
    scale = _number(tail) if colon else None
    return _checked(Lora(text) if scale is None else Lora(path, scale), tail)


def loras(value: object) -> tuple[Lora, ...]:
    """What Python callers give: a path, `FILE:SCALE`, a `Lora`, or several of them.

    Raises:
        UsageError: something else, or as `parse_lora`.
    """
    if isinstance(value, str):
        return (parse_lora(value),)
    if isinstance(value, Lora):
        return (_checked(value),)
    if isinstance(value, os.PathLike):
        return (_checked(Lora(os.fsdecode(value))),)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return tuple(lora for item in value for lora in loras(item))
    raise UsageError(f"lora is {value!r:.50}", hint='give a path, "FILE:SCALE", or a list of them')


def check_loras(adapters: Iterable[Lora]) -> None:
    """Refuse what can be refused without opening a file.

    Raises:
        UsageError: a file that is not there, or is named twice.
    """
    seen: set[Path] = set()
    for lora in adapters:
        path = lora.file
        try:
            real = path.resolve(strict=True)
        # Links in a circle are a RuntimeError up to Python 3.12, half characters a ValueError.
        except (OSError, RuntimeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no file can be found there"
            raise UsageError(
                f"no such adapter: {path} ({why})", hint="check the path; it is FILE[:SCALE]"
            ) from None
        if real in seen:
            raise UsageError(
                f"the adapter {path} is given twice",
                hint="give it once, with the sum of the scales",
            )
        seen.add(real)


def _checked(lora: Lora, scale_text: str = "") -> Lora:
    if not isinstance(lora.path, str) or not lora.path or "\0" in lora.path:
        raise UsageError(f"{lora.path!r:.50} names no adapter file", hint="give FILE[:SCALE]")
    scale: object = lora.scale
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not abs(scale) <= MAX_SCALE:
        raise UsageError(
            f"adapter {lora.path} with a scale of {scale_text or repr(scale)}",
            hint=f"give a number between -{MAX_SCALE} and {MAX_SCALE}; 1 is as it was trained",
        )
    return lora


def _number(text: str) -> float | None:
    if not text.isascii() or "_" in text or text.strip() != text:
        return None  # which Python would read as a number
    try:
        return float(text)
    except ValueError:
        return None
