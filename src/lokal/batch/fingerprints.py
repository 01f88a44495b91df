"""What the settings of earlier runs were, so that a refusal can say what is different."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lokal.batch.earlier import Earlier
from lokal.errors import UsageError

KEPT = 200  # settings; the oldest go

_SHORT = 40  # characters that a value may have to be shown
_NAME = re.compile(r"[0-9a-f]{4,64}")


class Made(NamedTuple):
    """What the rows of this run are made with."""

    model: str
    weights: str
    fingerprint: str
    settings: Mapping[str, Any]
    """Everything that the fingerprint is a hash of, fit for JSON."""


class Fingerprints:
    """Settings by their fingerprint, one file each, for nobody else to read."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "fingerprints"

    def check(self, name: Path | str, earlier: Earlier, now: Made) -> None:
        """See that the rows in an output were made as those that are to join them.

        Raises:
            UsageError: they were not; says what was different, if that is known.
        """
        hint = "--restart starts over, or choose another file with -o"
        if earlier.weights is not None and earlier.weights != now.weights:
            what = f"another model: {earlier.model}, now {now.model}"
            if earlier.model == now.model:
                what = f"other weights of {now.model}"
            raise UsageError(f"{name} was made with {what}", hint=hint)
        if earlier.fingerprint is not None and earlier.fingerprint != now.fingerprint:
            differences = "; ".join(self.difference(earlier.fingerprint, now.settings))
            what = f": {differences}" if differences else ""
            raise UsageError(f"{name} was made with other settings{what}", hint=hint)

    def remember(self, now: Made) -> None:
        """Keep the settings for later runs, if possible; without, refusals say less."""
        path = self._path(now.fingerprint)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                temporary.touch(mode=0o600)
                temporary.write_text(json.dumps(now.settings), encoding="utf-8")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._remove_oldest()

    def difference(self, old: str, new: Mapping[str, Any]) -> list[str]:
        """What is different now, a phrase each; nothing if the old settings are not known."""
        try:
            before = json.loads(self._path(old).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        if not isinstance(before, dict):
            return []
        now = json.loads(json.dumps(new))
        return [
            _phrase(key, before.get(key), now.get(key))
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        ]

    def _path(self, fingerprint: str) -> Path:
        # It may come out of somebody's file, and is not to become a path elsewhere.
        name = fingerprint if _NAME.fullmatch(fingerprint) else "unknown"
        return self._directory / f"{name}.json"

    def _remove_oldest(self) -> None:
        files = sorted(self._directory.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[:-KEPT]:
            path.unlink(missing_ok=True)


def _phrase(key: str, before: Any, now: Any) -> str:
    old, new = _shown(before), _shown(now)
    return f"{key} changed" if old is None or new is None else f"{key} {old}, now {new}"


def _shown(value: Any) -> str | None:
    """A value as it may stand in a line; None if it is too long for that."""
    if value is None or value in ("", []):
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT and text.isprintable() else None
