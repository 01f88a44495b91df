"""The memory that this process may still take."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lokal.hardware.cgroup import groups

_MEMINFO = Path("/proc/meminfo")
_STATM = Path("/proc/self/statm")


def spelled(count: int) -> str:
    """So many bytes in words: gigabytes, or megabytes if they are few."""
    return f"{count / 1e9:.2f} GB" if count >= 10**8 else f"{count / 1e6:.1f} MB"


def available_bytes(
    meminfo: Path = _MEMINFO, cgroups: Sequence[Path] | None = None, statm: Path = _STATM
) -> int | None:
    """Bytes free for a new allocation, within the cgroups' limits and those of `ulimit`.

    None where nobody tells. Where only the size of the memory is known, half of it counts as
    available.
    """
    cgroups = groups("memory") if cgroups is None else cgroups
    found = [_from_meminfo(meminfo), *map(_from_cgroup, cgroups), _from_ulimit(statm)]
    known = [count for count in found if count is not None]
    return min(known) if known else _elsewhere()


def total_bytes(meminfo: Path = _MEMINFO, cgroups: Sequence[Path] | None = None) -> int | None:
    """Bytes of memory that this process may ever have; None where nobody tells."""
    cgroups = groups("memory") if cgroups is None else cgroups
    found = [_from_meminfo(meminfo, "MemTotal:"), *map(_limit, cgroups)]
    known = [count for count in found if count is not None]
    return min(known) if known else _size()


def _size() -> int | None:
    """All of the memory, on systems that are not Linux."""
    if sys.platform == "win32":
        from lokal.hardware.windows import memory

        found = memory()
        return found and found[0]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _elsewhere() -> int | None:
    """What is available on systems that are not Linux."""
    if sys.platform == "win32":
        from lokal.hardware.windows import memory

        found = memory()
        return found and found[1]
    if sys.platform == "darwin":
        from lokal.hardware import apple

        if (free := apple.available_bytes()) is not None:
            return free
    size = _size()
    return None if size is None else size // 2


def _from_ulimit(statm: Path) -> int | None:
    """What `ulimit -v` and `ulimit -d` leave; the first counts mapped files too."""
    try:
        import resource  # not on Windows

        sizes = statm.read_text().split()
        page = resource.getpagesize()
        used = {resource.RLIMIT_AS: int(sizes[0]), resource.RLIMIT_DATA: int(sizes[5])}
    except (ImportError, OSError, ValueError, IndexError):
        return None
    limits = {kind: resource.getrlimit(kind)[0] for kind in used}
    left = [
        max(0, limit - used[kind] * page)
        for kind, limit in limits.items()
        if limit != resource.RLIM_INFINITY
    ]
    return min(left, default=None)


def _limit(cgroup: Path) -> int | None:
    """The most that a cgroup allows; v1 writes a huge number where there is no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
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
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            limit = int((cgroup / limit_name).read_text())
            used = int((cgroup / used_name).read_text())
        except (OSError, ValueError):  # absent, or "max"
            continue
        return max(0, limit - used + _page_cache(cgroup / "memory.stat"))
    return None


def _page_cache(stat: Path) -> int:
    """Bytes of files that the kernel would give up, as `memory.stat` counts them.

    cgroup v1 counts groups inside of this one under names of their own.
    """
    try:
        lines = [line.split() for line in stat.read_text().splitlines()]
        counts = {line[0]: int(line[1]) for line in lines if line and line[0].endswith("_file")}
    except (OSError, ValueError, IndexError):
        return 0
    names = ("active_file", "inactive_file")
    return sum(counts.get(f"total_{name}", counts.get(name, 0)) for name in names)
