"""Memory: what is free, within what the surroundings grant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lokal.hardware.memory import available_bytes

MEMINFO = "MemTotal:       8000 kB\nMemFree:        1000 kB\nMemAvailable:   4000 kB\n"
STAT = "anon 100\nactive_file 30\ninactive_file 20\nfile_mapped 7\n"


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    return path


def group(tmp_path: Path, **files: str) -> Path:
    """A cgroup v2: `limit="…"` is memory.max, and so on."""
    names = {"limit": "memory.max", "used": "memory.current", "stat": "memory.stat"}
    folder = tmp_path / "cgroup"
    folder.mkdir()
    for name, text in files.items():
        (folder / names[name]).write_text(text + "\n")
    return folder


def test_what_the_kernel_calls_available(meminfo: Path, tmp_path: Path) -> None:
    """Not what is merely free: caches give way."""
    assert available_bytes(meminfo, [tmp_path]) == 4000 * 1024


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"limit": "1000", "used": "400", "stat": STAT}, 650),  # the page cache gives way
        ({"limit": "1000", "used": "2000", "stat": "anon 1"}, 0),
        ({"limit": "99999999999", "used": "0", "stat": STAT}, 4000 * 1024),
        ({"limit": "max", "used": "400", "stat": STAT}, 4000 * 1024),
        ({"limit": "1000", "used": "400"}, 600),
        ({"limit": "1000", "used": "400", "stat": "odd line with words\n\n"}, 600),
        ({"limit": "1000", "used": "400", "stat": "inactive_file many"}, 600),
        ({"limit": "1000", "used": "400", "stat": "inactive_file"}, 600),
        ({"limit": "1000", "used": "400", "stat": "odd line\n\nactive_file 1"}, 601),
        ({"limit": "", "used": "400", "stat": STAT}, 4000 * 1024),
    ],
)
def test_a_limit_of_cgroup_2(
    meminfo: Path, tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    """A container may have less than its machine; an odd memory.stat does not undo that."""
    assert available_bytes(meminfo, [group(tmp_path, **files)]) == expected


def test_a_limit_of_cgroup_1(meminfo: Path, tmp_path: Path) -> None:
    """Older systems keep it under other names."""
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("1000\n")
    (folder / "memory.usage_in_bytes").write_text("300\n")
    (folder / "memory.stat").write_text(STAT)
    assert available_bytes(meminfo, [tmp_path]) == 750
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # no limit
    assert available_bytes(meminfo, [tmp_path]) == 4000 * 1024


@pytest.mark.parametrize("text", ["", "MemAvailable:", "MemAvailable: much kB"])
def test_an_odd_meminfo_leaves_half_of_the_memory(tmp_path: Path, text: str) -> None:
    """As on macOS, which has none: the size of the memory is all that is known."""
    (tmp_path / "meminfo").write_text(text)
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert available_bytes(tmp_path / "meminfo", [tmp_path]) == half
    assert available_bytes(tmp_path / "absent", [tmp_path]) == half


def test_nobody_may_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither the files nor sysconf."""
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert available_bytes(tmp_path / "absent", [tmp_path]) is None


def test_this_machine_has_memory() -> None:
    """On the real files, whatever they are."""
    found = available_bytes()
    assert found is None or found > 2**20


def test_the_tightest_limit_holds(meminfo: Path, tmp_path: Path) -> None:
    """Groups are nested, and each has used some of its own."""
    for name, limit, used in (("outer", 1000, 900), ("inner", 500, 100), ("none", "max", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "memory.max").write_text(str(limit))
        (tmp_path / name / "memory.current").write_text(str(used))
    nested = [tmp_path / "none", tmp_path / "inner", tmp_path / "outer", tmp_path / "absent"]
    assert available_bytes(meminfo, nested[:2]) == 400
    assert available_bytes(meminfo, nested) == 100
