"""Cores: physical ones, within what the surroundings grant."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lokal.hardware import apple
from lokal.hardware.cpu import usable_cores


@pytest.fixture
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight CPUs that are four cores with two threads each, all of them ours."""
    allow(monkeypatch, set(range(8)))
    for cpu in range(8):
        topology = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path / "devices"


def allow(monkeypatch: pytest.MonkeyPatch, cpus: set[int]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: cpus, raising=False)


def test_hyper_threads_are_one_core(cpus: Path, tmp_path: Path) -> None:
    """Counting them would slow llama.cpp down."""
    assert usable_cores(cpus, [tmp_path]) == 4


@pytest.mark.parametrize(("mask", "cores"), [({0, 4}, 1), ({0, 1}, 2), ({0, 1, 4}, 2), ({7}, 1)])
def test_the_affinity_mask_counts(
    cpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: set[int], cores: int
) -> None:
    """`taskset` and container settings decide which CPUs there are."""
    allow(monkeypatch, mask)
    assert usable_cores(cpus, [tmp_path]) == cores


def test_without_a_topology_every_cpu_is_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some containers hide it."""
    allow(monkeypatch, {0, 1, 2})
    assert usable_cores(tmp_path, [tmp_path]) == 3


def test_without_affinity_the_machine_s_count_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no masks; a count that is unknown is one."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path, [tmp_path]) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path, [tmp_path]) == 1


@pytest.mark.parametrize(
    ("text", "mask", "cores"),
    [
        ("0-1,4-5\n", set(range(8)), 2),
        ("0-1,4-5\n", {1, 2, 3}, 1),
        ("0-1,4-5\n", {2, 3}, 2),  # the others are not ours
        ("0\n", set(range(8)), 1),
        ("\n", set(range(8)), 4),
        ("many\n", set(range(8)), 4),
    ],
)
def test_intel_s_efficient_cores_do_not_count(
    cpus: Path, monkeypatch: pytest.MonkeyPatch, text: str, mask: set[int], cores: int
) -> None:
    """The kernel lists the others, by CPU."""
    allow(monkeypatch, mask)
    (cpus / "cpu_core").mkdir()
    (cpus / "cpu_core/cpus").write_text(text)
    assert usable_cores(cpus, []) == cores


@pytest.mark.parametrize(
    ("capacities", "cores"),
    [
        ([1024] * 4, 4),
        ([530] * 4 + [1024] * 4, 4),  # RK3588
        ([250] * 4 + [620] * 2 + [1024] * 2, 4),  # a phone with three kinds
        ([800] * 6 + [1024] * 2, 8),
        ([250, 250], 2),  # the large ones are not ours
    ],
)
def test_arm_s_small_cores_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacities: list[int], cores: int
) -> None:
    allow(monkeypatch, set(range(len(capacities))))
    for cpu, capacity in enumerate(capacities):
        folder = tmp_path / f"system/cpu/cpu{cpu}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")
    assert usable_cores(tmp_path, []) == cores


def test_a_mac_s_performance_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"hw.perflevel0.physicalcpu": 6, "hw.physicalcpu": 10}
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(apple, "sysctl_number", lambda name: told.get(name, 0))
    assert usable_cores(cgroups=[]) == 6
    del told["hw.perflevel0.physicalcpu"]
    assert usable_cores(cgroups=[]) == 10


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("200000 100000", 2),
        ("max 100000", 4),
        ("10000 100000", 1),
        ("150000 100000", 2),
        ("1600000 100000", 4),
        ("0 100000", 1),
        ("100000 0", 4),
        ("nonsense", 4),
        ("", 4),
    ],
)
def test_a_quota_of_cgroup_2(cpus: Path, tmp_path: Path, limit: str, cores: int) -> None:
    """Threads beyond the quota would only wait for each other."""
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert usable_cores(cpus, [tmp_path]) == cores


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("-1", 4), ("", 4)])
def test_a_quota_of_cgroup_1(cpus: Path, tmp_path: Path, quota: str, cores: int) -> None:
    """Older systems keep it in two files."""
    (tmp_path / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(cpus, [tmp_path]) == cores


def test_this_machine_has_a_core() -> None:
    """On the real files, whatever they are."""
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_the_tightest_quota_holds(cpus: Path, tmp_path: Path) -> None:
    """Groups are nested; some of them set no limit."""
    for name, quota in (
        ("outer", "300000 100000"),
        ("inner", "max 100000"),
        ("other", "200000 100000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpu.max").write_text(quota)
    nested = [tmp_path / "inner", tmp_path / "outer", tmp_path / "absent"]
    assert usable_cores(cpus, nested) == 3
    assert usable_cores(cpus, [*nested, tmp_path / "other"]) == 2
