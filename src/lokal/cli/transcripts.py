"""Conversations as files: those that people save, and the last one, which is kept for them."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from lokal.cli.prompt_input import MAX_BYTES, utf8
from lokal.dialogue import Dialogue
from lokal.errors import SpaceError, UsageError

PRIVATE = 0o600  # what people say to a model is nobody else's business


class Transcript(NamedTuple):
    """A conversation from a file; `model` is None where the file does not say who answered."""

    dialogue: Dialogue
    model: str | None


def last_path(state_dir: Path) -> Path:
    """Where the last conversation is kept."""
    return state_dir / "conversation.json"


def read(path: Path) -> Transcript:
    """A conversation from a JSON file.

    Raises:
        UsageError: there is no such file, or no conversation in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="give a file that /save wrote"
        ) from None
    try:
        value = json.loads(utf8(data[:MAX_BYTES], str(path)))
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON", hint="give a file that /save wrote") from None
    try:
        dialogue = Dialogue.from_json(value)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
    model = value.get("model") if isinstance(value, dict) else None
    return Transcript(dialogue, model if isinstance(model, str) else None)


def save(path: Path, dialogue: Dialogue, model: str) -> None:
    """Write a conversation where the user wants it; only another conversation is replaced.

    Raises:
        UsageError: the file is something else, or cannot be written.
        SpaceError: the disk is full.
    """
    try:
        path = Path(os.path.realpath(path))  # pathlib's own raises RuntimeError
        _write(path, dialogue.to_json(model), _replaced_mode(path))
    except OSError as error:
        kind = SpaceError if error.errno == errno.ENOSPC else UsageError
        raise kind(
            f"cannot write to {path}: {error.strerror}", hint="choose another file"
        ) from None


def remember(state_dir: Path, dialogue: Dialogue, model: str) -> None:
    """Keep the conversation for `--continue`; readable for this user only.

    Raises:
        OSError: it cannot be written.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    _write(last_path(state_dir), dialogue.to_json(model), PRIVATE)


def _replaced_mode(path: Path) -> int | None:
    """The permissions of the conversation that is there; None if nothing is.

    Raises:
        UsageError: something else is there.
        OSError: no file could be there.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(mode):  # which the system refuses
        try:
            read(path)
        except UsageError:
            raise UsageError(
                f"{path} is there and no conversation", hint="choose another name"
            ) from None
    return stat.S_IMODE(mode)


def _write(path: Path, value: Any, mode: int | None) -> None:
    """All of it or nothing: a crash leaves the file that was there; None is the umask's mode."""
    temporary = path.parent / f".lokal.{os.getpid()}"  # any longer, and a long name is too long
    temporary.unlink(missing_ok=True)
    try:
        made = 0o666 if mode is None else PRIVATE
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, made)
        # What is no character, such as bytes that are not UTF-8, is written as JSON's \udce9.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.write("\n")
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
