"""The user's own registry, written by `llm models add`."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from lokal.catalog.registry import Registry
from lokal.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def add(path: Path, name: str, fields: Mapping[str, str], *, force: bool = False) -> None:
    """Append a model to the overlay; what is there stays as it is, comments included.

    `fields` by their names in the file, `origin.name` for a field of a table.

    Raises:
        UsageError: no fit name, one that exists already (without `force`) or is built in, a
            broken overlay, or one that cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a model", hint="use lower-case letters, digits, and . _ -"
        )
    registry = Registry.read(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        text = ""
    parsed = tomllib.loads(text)
    own = parsed.get("model", {})
    if name in registry.names() and name not in own:
        raise UsageError(
            f"{name} is a built-in model", hint=f"choose another name, or change fields in {path}"
        )
    if name in own and not force:
        raise UsageError(f"{name} exists already", hint="--force replaces it")
    kept = _without(text, name)
    others = {key: value for key, value in own.items() if key != name}
    if {"model": {}, **tomllib.loads(kept)} != {**parsed, "model": others}:
        raise UsageError(f"cannot find all of {name} in {path}", hint="remove it there by hand")
    _publish(path.resolve(), name, kept + _table(name, fields))


def _table(name: str, fields: Mapping[str, str]) -> str:
    # JSON's strings are TOML's, but for one control character that JSON leaves as it is.
    clean = {key: value.replace("\x7f", "") for key, value in fields.items()}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in clean.items()]
    return "\n".join([f'[model."{name}"]', *lines, ""])


def _without(text: str, name: str) -> str:
    """The overlay without the tables of that model, ready for another one."""
    header = re.compile(rf'\[model\.(?:{re.escape(name)}|"{re.escape(name)}")[.\]]')
    kept, keep = [], True
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            keep = not header.match(line)
        if keep:
            kept.append(line)
    text = "".join(kept).rstrip("\n")
    return f"{text}\n\n" if text else ""


def _publish(path: Path, name: str, text: str) -> None:
    """Write the overlay, once the registry has accepted it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        Registry.read(temporary)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", hint="LOKAL_CONFIG_DIR names another place"
        ) from None
    except UsageError as error:
        message = error.message.replace(str(temporary), str(path))
        raise UsageError(message, hint=f"edit {path} by hand to add {name}") from None
    finally:
        temporary.unlink(missing_ok=True)
