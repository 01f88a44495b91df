"""Memory: what is free, within what the surroundings grant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lokal.hardware import apple, windows
from lokal.hardware.memory import available_bytes, total_bytes

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
    """Older systems keep it under other names, and count what groups inside have apart."""
    (tmp_path / "memory.limit_in_bytes").write_text("1000\n")
    (tmp_path / "memory.usage_in_bytes").write_text("300\n")
    (tmp_path / "memory.stat").write_text(STAT)
    assert available_bytes(meminfo, [tmp_path]) == 750
    (tmp_path / "memory.stat").write_text(STAT + "total_active_file 90\ntotal_inactive_file 5\n")
    assert available_bytes(meminfo, [tmp_path]) == 795
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # no limit
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


LIMITED = """
import mmap, resource
from lokal.hardware.memory import available_bytes
limit = 3 * 2**30
resource.setrlimit(resource.{kind}, (limit, limit))
found = available_bytes()
print(found)
private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # and never touched
try:
    mmap.mmap(-1, found + 2**26, private)
except OSError:
    mmap.mmap(-1, found - 2**26, private)
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is used")
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_shell_s(kind: str) -> None:
    """`ulimit -v`, for real: a little more than what is available is refused, less is not."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(kind=kind)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, refused = done.stdout.split()
    assert 2**30 < int(found) < 3 * 2**30
    assert refused == "refused"


@pytest.mark.parametrize("text", ["", "1 2 3", "many of them, all, no, numbers, at"])
def test_an_odd_count_of_pages_is_no_limit(meminfo: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "statm").write_text(text)
    assert available_bytes(meminfo, [], tmp_path / "statm") == 4000 * 1024


class Kernel:
    """The two kernels that tell of memory in structures; a call that fails is one that must."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def mach_host_self(self) -> int:
        return 7

    def host_statistics64(self, host: int, kind: int, words: Any, count: Any) -> int:
        assert (host, kind, count[0]) == (7, 4, len(words))
        words[:4] = [100, 1000, 200, 3000]  # pages: free, active, inactive, wired
        return int(self.fails)

    def GlobalMemoryStatusEx(self, status: Any) -> int:  # noqa: N802
        assert status[0].length == 64
        status[0].total, status[0].available = 16 * 2**30, 5 * 2**30
        status[0].available_with_page_file = 3 * 2**30
        return int(not self.fails)


def test_what_macos_calls_available() -> None:
    assert apple.available_bytes(Kernel()) == 300 * os.sysconf("SC_PAGE_SIZE")
    assert apple.available_bytes(Kernel(fails=True)) is None


def test_what_windows_calls_available() -> None:
    assert windows.memory(Kernel()) == (16 * 2**30, 3 * 2**30)
    assert windows.memory(Kernel(fails=True)) is None


def test_each_system_is_asked_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "absent"
    monkeypatch.setattr(windows, "memory", lambda: (16, 3))
    monkeypatch.setattr(apple, "available_bytes", lambda: 5)
    monkeypatch.setattr(sys, "platform", "win32")
    assert (total_bytes(nowhere, []), available_bytes(nowhere, [], nowhere)) == (16, 3)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available_bytes(nowhere, [], nowhere) == 5
