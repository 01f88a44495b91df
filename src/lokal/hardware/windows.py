"""What Windows tells of a machine, through its kernel32."""

from __future__ import annotations

import ctypes
from typing import Any


class Status(ctypes.Structure):
    """MEMORYSTATUSEX; all but the first two are bytes."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("total_with_page_file", ctypes.c_uint64),
        ("available_with_page_file", ctypes.c_uint64),
        ("total_addresses", ctypes.c_uint64),
        ("available_addresses", ctypes.c_uint64),
        ("extended", ctypes.c_uint64),
    )


def memory(kernel: Any = None) -> tuple[int, int] | None:
    """Bytes of memory that there are, and that are available; None if Windows does not tell.

    What may be promised to programs can be less than what is free: a full page file ends it.
    """
    if kernel is None:
        kernel = ctypes.CDLL("kernel32")
    status = Status(length=ctypes.sizeof(Status))
    if not kernel.GlobalMemoryStatusEx(ctypes.pointer(status)):
        return None
    return status.total, min(status.available, status.available_with_page_file)
