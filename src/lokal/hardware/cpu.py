"""The cores that this process may really use."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lokal.hardware.cgroup import groups

_DEVICES = Path("/sys/devices")
# Of the capacity of the largest core. Threads wait for the slowest, so small cores are left out:
# they have up to 0.52 of it (RK3588), the middle ones of phones with three kinds 0.6 and more.
_FAST = 0.6


def usable_cores(devices: Path = _DEVICES, cgroups: Sequence[Path] | None = None) -> int:
    """Physical cores, within the affinity mask and the cgroups' CPU quotas; at least 1.

    Hyper-threads of one core share its vector units, so counting them slows llama.cpp down. Of
    two kinds of cores only the fast ones count.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = devices / "system/cpu"
        fast = _fast(devices, os.sched_getaffinity(0))
        count = len({_siblings(cpus, cpu) for cpu in fast})
    else:
        count = _apple_cores() or os.cpu_count() or 1
    quotas = map(_quota, groups("cpu") if cgroups is None else cgroups)
    return max(1, min([count, *(quota for quota in quotas if quota)]))


def _fast(devices: Path, allowed: set[int]) -> set[int]:
    """The allowed CPUs but those of small cores; all of them where there is one kind."""
    try:  # Intel's hybrids
        if fast := _listed((devices / "cpu_core/cpus").read_text()) & allowed:
            return fast
    except (OSError, ValueError):
        pass
    try:  # ARM
        files = {cpu: devices / f"system/cpu/cpu{cpu}/cpu_capacity" for cpu in allowed}
        capacities = {cpu: int(file.read_text()) for cpu, file in files.items()}
    except (OSError, ValueError):
        return allowed
    least = _FAST * max(capacities.values())
    return {cpu for cpu, capacity in capacities.items() if capacity >= least}


def _listed(text: str) -> set[int]:
    """The numbers in a list like `0-7,16`."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _apple_cores() -> int:
    """Performance cores of a Mac, or all cores where there is one kind; 0 on other systems."""
    if sys.platform != "darwin":
        return 0
    from lokal.hardware.apple import sysctl_number

    return sysctl_number("hw.perflevel0.physicalcpu") or sysctl_number("hw.physicalcpu")


def _siblings(cpus: Path, cpu: int) -> str:
    """A name for the physical core of a CPU: the list of its hyper-threads."""
    try:
        return (cpus / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota(cgroup: Path) -> int | None:
    """Whole cores of time that the cgroup grants (`cpu.max`, cgroup v2; cfs quota, v1)."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max", or -1: no limit
        return None
    return max(1, round(int(quota) / int(period)))
