"""A file on its way: the bytes that are here, and the note of which they are.

    blobs/NAME.lokal.incomplete         the bytes, each at its final place
    blobs/NAME.lokal.state.incomplete   one line of JSON: size, boot, finished spans

The names end as those of huggingface_hub do, whose cache tools list and prune them.
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

from lokal.hub.ranges import Ranges

NOTE_EVERY = 1 << 20  # bytes that a kill may cost, besides what is on its way
_COPIED_AT_ONCE = 1 << 20  # bytes
_ZEROS = bytes(64 << 10)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Partial:
    """The file and its note, open for writing; call `close`, or use it as a context manager.

    `write` may be called from any thread. After `close` it raises ValueError and writes nothing,
    so that a thread that is late does no harm.

    Raises:
        OSError: the files cannot be opened or written.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._lock = threading.Lock()
        self._data = _open(path)
        try:
            self._note = _open(state_path(path))
        except OSError:
            self._data.close()
            raise
        self._here = self._resumed()
        self._noted = self._here.total

    @property
    def done(self) -> int:
        """Bytes that are here."""
        with self._lock:
            return self._here.total

    @property
    def here(self) -> Ranges:
        """A copy of what is here."""
        with self._lock:
            return Ranges(self._here.spans)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes in their place, and note from time to time what is here."""
        with self._lock:
            self._data.seek(offset)
            view = memoryview(data)
            while view:
                view = view[self._data.write(view) :]
            self._here.add(offset, offset + len(data))
            if self._here.total - self._noted >= NOTE_EVERY:
                self._write_note()

    def copy(self, path: Path, offset: int) -> None:
        """Write a whole file."""
        with path.open("rb") as file:
            while data := file.read(_COPIED_AT_ONCE):
                self.write(offset, data)
                offset += len(data)

    def forget(self, start: int, stop: int) -> None:
        """What was fetched there is wrong: it has to come again."""
        with self._lock:
            self._here.remove(start, stop)
            self._write_note()

    def read(self, start: int, stop: int) -> bytes:
        with self._lock:
            self._data.seek(start)
            return bytes(self._data.read(stop - start))

    def close(self) -> None:
        """Note what is here, or leave nothing behind; calling it twice is fine."""
        with self._lock:
            if self._data.closed:
                return
            with contextlib.suppress(OSError):  # the note from before still holds
                self._write_note()
            self._data.close()
            self._note.close()
            if not self._here.total and self.size:
                self._remove()

    def discard(self) -> None:
        """Remove both files."""
        self.close()
        self._remove()

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        state_path(self.path).unlink(missing_ok=True)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _write_note(self) -> None:
        state = {"size": self.size, "boot": _boot(), "here": self._here.spans}
        self._note.seek(0)
        # One small write is never half done when the process is killed. A shorter line leaves the
        # end of a longer one behind, which the reader skips.
        self._note.write(json.dumps(state).encode() + b"\n")
        self._noted = self._here.total

    def _resumed(self) -> Ranges:
        """What an earlier process left here, as far as it can be believed."""
        try:
            state = json.loads(self._note.readline())
            here = Ranges((int(start), int(stop)) for start, stop in state["here"])
            end = here.spans[-1].stop if here.spans else 0
            if state["size"] != self.size or not end <= self._data.seek(0, 2):
                raise ValueError
        except (ValueError, TypeError, KeyError):
            self._data.truncate(0)
            return Ranges()
        if state.get("boot") is None or state["boot"] != _boot():
            self._doubt(here)
        return here

    def _doubt(self, here: Ranges) -> None:
        """Take out blocks of zeros: what a crash of the machine leaves of unwritten pages."""
        for start, stop in here.spans:
            for at in range(start, stop, len(_ZEROS)):
                self._data.seek(at)
                block = self._data.read(min(len(_ZEROS), stop - at))
                if block == _ZEROS[: len(block)]:
                    here.remove(at, at + len(_ZEROS))


def state_path(path: Path) -> Path:
    """Where the note of a partial file is."""
    return path.with_name(path.name.replace(".incomplete", ".state.incomplete"))


def _open(path: Path) -> Any:
    """Open for reading and writing without a buffer, and create what is not there."""
    path.touch()
    return path.open("r+b", buffering=0)


def _boot() -> str | None:
    """What is different after each start of the machine; None where nothing tells."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None
