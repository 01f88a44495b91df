"""What a transfer reports, to whoever wants to draw it."""

from __future__ import annotations

from typing import Any


class Progress:
    """What a pull reports while it works; this one ignores it. Sizes are in bytes.

    All calls come from the thread that called `pull`.
    """

    def start(self, files: int, size: int) -> None:
        """So many files are to come, so many bytes together."""

    def begin(self, file: str, size: int) -> None:
        """The transfer of a file starts."""

    def at(self, done: int) -> None:
        """So much of the current file is here; less than before after some failures."""

    def end(self) -> None:
        """The current file is complete and checked, or given up."""

    def finish(self) -> None:
        """All files are here, or the pull has failed."""

    def wait(self, seconds: float, reason: str) -> None:
        """Something failed that may pass; the next try comes after this pause."""

    def say(self, text: str) -> None:
        """Something that people should know."""


def bar_for(progress: Progress) -> type[Any]:
    """A class for huggingface_hub's `tqdm_class`, which reports to `progress`.

    Xet counts bytes received and bytes written; with an `update_transfer` method both go to one
    bar. The larger one is reported, as written bytes come late and in heaps.
    """

    class Bar:
        def __init__(self, *_args: object, total: int | None = None, **_options: object) -> None:
            self.total = total
            self._written = self._received = 0

        def update(self, count: int | None = 1) -> None:
            self._written += count or 0
            self._report()

        def update_transfer(self, count: int | None = 1) -> None:
            self._received += count or 0
            self._report()

        def _report(self) -> None:
            # What travels may be more than the file.
            received = min(self._received, self.total or self._received)
            progress.at(max(self._written, received))

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_error: object) -> None:
            pass

        def close(self) -> None:
            pass

        def set_postfix_str(self, *_args: object, **_options: object) -> None:
            pass

        set_transfer_postfix_str = set_postfix_str

    return Bar
