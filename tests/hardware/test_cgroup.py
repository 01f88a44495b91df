"""Control groups: our own and those around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lokal.hardware.cgroup import groups


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        ("0::/\n", ["", "cpu"]),
        ("0::/user.slice/job.scope\n", ["user.slice/job.scope", "user.slice", "", "cpu"]),
        ("3:cpu:/x\n0::/y\n", ["y", "", "cpu/x", "cpu"]),
        ("3:cpuset:/z\n4:cpu,cpuacct:/x/y\n", ["", "cpu/x/y", "cpu/x", "cpu"]),
        ("0::/../..\n", ["../..", "..", "", "cpu"]),  # seen from within another namespace
        ("", ["", "cpu"]),
        ("nonsense\n:\n3:cpu\n3:cpu:x\n", ["", "cpu"]),
    ],
)
def test_our_groups_and_all_above_them(
    tmp_path: Path, membership: str, expected: list[str]
) -> None:
    """A limit anywhere on the way up holds, and a system may have both kinds of groups."""
    (tmp_path / "cgroup").write_text(membership)
    found = groups("cpu", tmp_path / "root", tmp_path / "cgroup")
    assert found == [tmp_path / "root" / path for path in expected]


def test_where_there_are_none(tmp_path: Path) -> None:
    """Only the roots are left, which other systems do not have either."""
    assert groups("cpu", tmp_path, tmp_path / "absent") == [tmp_path, tmp_path / "cpu"]
