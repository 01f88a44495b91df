"""The locks under which files of the cache are downloaded, by us and by every other tool."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_PATIENCE = 0.05  # seconds; whoever holds such a lock is downloading, which takes longer


@contextlib.contextmanager
def held(folder: Path, blobs: Iterable[Path] | None = None) -> Iterator[bool]:
    """Hold the locks of blobs and partials of a repository, or all that it has.

    True if none of them was held by anybody else; nothing may be touched otherwise. A lock that
    was never taken has no file, and nobody to wait for.
    """
    directory = folder.parent / ".locks" / folder.name
    if blobs is None:
        locks = set(directory.glob("*.lock"))
    else:
        # Partials are named SHA256.SOMETHING.incomplete.
        locks = {directory / f"{path.name.partition('.')[0]}.lock" for path in blobs}
    with contextlib.ExitStack() as stack:
        yield all(_take(lock, stack) for lock in sorted(locks) if lock.exists())


@contextlib.contextmanager
def taken(lock: Path, blocked: Callable[[], object]) -> Iterator[None]:
    """Hold a lock to download under; `blocked` is called if somebody else has it, then we wait.

    Raises:
        OSError: the lock cannot be opened.
    """
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is there

    lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(lock, timeout=_PATIENCE))
        except Timeout:
            blocked()
            stack.enter_context(WeakFileLock(lock))
        yield


def _take(lock: Path, stack: contextlib.ExitStack) -> bool:
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is there

    try:
        stack.enter_context(WeakFileLock(lock, timeout=_PATIENCE))
    except (Timeout, OSError):  # a lock that may not be opened is somebody else's
        return False
    return True
