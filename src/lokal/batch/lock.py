"""One run at a time on an output file; the system takes the lock back when the process dies."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt
    import os

    # A locked byte cannot be read by others, so it lies where no row will be.
    _FAR = 0x7FFF_FFFE

    def take(fd: int) -> bool:
        """Lock an open file until it is closed; False if somebody else has it."""
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def take(fd: int) -> bool:
        """Lock an open file until it is closed; False if somebody else has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: nobody can have it
            return True
        return True
