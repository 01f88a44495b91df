"""The memory that this process may still take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lokal.hardware.cgroup import groups

_MEMINFO = Path("/proc/meminfo")


def available_bytes(meminfo: Path = _MEMINFO, cgroups: Sequence[Path] | None = None) -> int | None:
    """Bytes free for a new allocation, within the cgroups' limits; None where nobody tells.

    Where only the size of the memory is known (macOS), half of it counts as available.
    """
    cgroups = groups() if cgroups is None else cgroups
    found = [_from_meminfo(meminfo), *map(_from_cgroup, cgroups)]
    known = [count for count in found if count is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def total_bytes(meminfo: Path = _MEMINFO, cgroups: Sequence[Path] | None = None) -> int | None:
    """Bytes of memory that this process may ever have; None where nobody tells."""
    cgroups = groups() if cgroups is None else cgroups
    found = [_from_meminfo(meminfo, "MemTotal:"), *map(_limit, cgroups)]
    known = [count for count in found if count is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _limit(cgroup: Path) -> int | None:
    """The most that a cgroup allows; v1 writes a huge number where there is no limit."""
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
        except (OSError, ValueError):  # absent, or "max"
            continue
        cache = _page_cache((cgroup / limit_name).with_name("memory.stat"))
        return max(0, limit - used + cache)
    return None


def _page_cache(stat: Path) -> int:
    """Bytes of files that the kernel would give up, as `memory.stat` counts them."""
    try:
        counts = [line.split() for line in stat.read_text().splitlines()]
        return sum(int(c[1]) for c in counts if c and c[0] in {"active_file", "inactive_file"})
    except (OSError, ValueError, IndexError):
        return 0
