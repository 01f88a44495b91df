"""What macOS tells of a machine, through its C library."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_VM_INFO = 4  # HOST_VM_INFO64
_COUNT = 38  # HOST_VM_INFO64_COUNT: 32-bit words of struct vm_statistics64


def sysctl_text(name: str, libc: Any = None) -> str:
    """A setting of the kernel that is a text; empty if there is none of that name."""
    return _sysctl(name, 256, libc).rstrip(b"\0").decode("utf-8", "replace")


def sysctl_number(name: str, libc: Any = None) -> int:
    """A setting of the kernel that is a number; 0 if there is none of that name."""
    return int.from_bytes(_sysctl(name, 8, libc), "little")


def available_bytes(libc: Any = None) -> int | None:
    """Memory that is free or was not used of late; None if the kernel does not tell."""
    if libc is None:
        libc = ctypes.CDLL(None)
    if not hasattr(libc, "host_statistics64"):
        return None
    words, count = (ctypes.c_uint32 * _COUNT)(), ctypes.c_uint32(_COUNT)
    if libc.host_statistics64(libc.mach_host_self(), _VM_INFO, words, ctypes.pointer(count)):
        return None
    free, _active, inactive, _wired = words[:4]
    return (free + inactive) * os.sysconf("SC_PAGE_SIZE")


def _sysctl(name: str, room: int, libc: Any) -> bytes:
    if libc is None:
        libc = ctypes.CDLL(None)
    if not hasattr(libc, "sysctlbyname"):
        return b""
    value, size = ctypes.create_string_buffer(room), ctypes.c_size_t(room)
    if libc.sysctlbyname(name.encode(), value, ctypes.pointer(size), None, ctypes.c_size_t(0)):
        return b""
    return value.raw[: size.value]
