"""The cores that this process may really use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lokal.hardware.cgroup import groups

_CPUS = Path("/sys/devices/system/cpu")


def usable_cores(cpus: Path = _CPUS, cgroups: Sequence[Path] | None = None) -> int:
    """Physical cores, within the affinity mask and the cgroups' CPU quotas; at least 1.

    Hyper-threads of one core share its vector units, so counting them slows llama.cpp down.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
    else:
        allowed = set(range(os.cpu_count() or 1))
    cores = {_siblings(cpus, cpu) for cpu in allowed}
    quotas = map(_quota, groups() if cgroups is None else cgroups)
    return max(1, min([len(cores), *(quota for quota in quotas if quota)]))


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
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max", or -1: no limit
        return None
    return max(1, round(int(quota) / int(period)))
