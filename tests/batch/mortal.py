"""An operating system under which the process dies after a number of changes to its files."""

from __future__ import annotations

import os
from typing import Any

from lokal.batch import disk

_REPLACE, _REMOVE = disk.replace, disk.remove
CHANGES = {"write", "ftruncate", "fsync", "open"}


class Killed(BaseException):
    """The process is dead: whatever it still tries has no effect."""


class Mortal:
    """Stands in for `os` in lokal.batch.disk; `share` of the last write still arrives."""

    def __init__(self, life: int | None, share: float = 0.0) -> None:
        self.life, self.share = life, share

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGES:
            return real

        def change(*args: Any) -> Any:
            if self.life == 0 and name == "write":
                os.write(args[0], args[1][: int(len(args[1]) * self.share)])
            self._step()
            return None if name == "fsync" else real(*args)  # only a crash would tell

        return change

    def replace(self, *args: Any) -> None:
        self._step()
        _REPLACE(*args)

    def remove(self, *args: Any) -> None:
        self._step()
        _REMOVE(*args)

    def _step(self) -> None:
        if self.life is None:
            return
        if self.life <= 0:
            self.life = -1
            raise Killed
        self.life -= 1


def alive(patch: Any, life: int | None, share: float = 0.0) -> Mortal:
    """Let lokal.batch.disk live for so many changes."""
    mortal = Mortal(life, share)
    patch.setattr(disk, "os", mortal)
    patch.setattr(disk, "replace", mortal.replace)
    patch.setattr(disk, "remove", mortal.remove)
    return mortal
