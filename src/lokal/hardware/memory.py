"""The memory that this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes free for a new allocation, within the cgroup's limit; None where nobody tells.

    Where only the size of the memory is known (macOS), half of it counts as available.
    """
    known = [n for n in (_from_meminfo(meminfo), _from_cgroup(cgroup)) if n is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def total_bytes(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes of memory that this process may ever have; None where nobody tells."""
    known = [n for n in (_from_meminfo(meminfo, "MemTotal:"), _limit(cgroup)) if n is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _limit(cgroup: Path) -> int | None:
    """The most that the cgroup allows; v1 writes a huge number where there is no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int((cgroup / name).read_text())
        except (OSError, ValueError):  # absent, or "max"
            continue
    return None


def _from_meminfo(path: Path, line_start: str = "MemAvailable:") -> int | None:
    try:
        for line in path.read_text().splitlines():
            if line.startswith(line_start):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _from_cgroup(cgroup: Path) -> int | None:
    """What is left under `memory.max` (cgroup v2) or its v1 twin; the page cache can be dropped."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int((cgroup / limit_name).read_text())
            used = int((cgroup / used_name).read_text())
            stat = (cgroup / limit_name).with_name("memory.stat").read_text()
            counts = dict(line.split(maxsplit=1) for line in stat.splitlines())
            cache = sum(int(counts.get(key, 0)) for key in ("active_file", "inactive_file"))
        except (OSError, ValueError):  # absent, or "max"
            continue
        return max(0, limit - used + cache)
    return None
