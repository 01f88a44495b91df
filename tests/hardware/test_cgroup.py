"""Control groups: our own and those around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lokal.hardware.cgroup import groups


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        ("0::/\n", [""]),
        ("0::/user.slice/job.scope\n", ["user.slice/job.scope", "user.slice", ""]),
        ("3:cpu:/x\n0::/y\n", ["y", ""]),
        ("3:cpu:/x\n", [""]),  # cgroup v1 only
        ("0::/../..\n", ["../..", "..", ""]),  # seen from within another namespace
        ("", [""]),
    ],
)
def test_our_group_and_all_above_it(tmp_path: Path, membership: str, expected: list[str]) -> None:
    """A limit anywhere on the way up holds."""
    (tmp_path / "cgroup").write_text(membership)
    found = groups(tmp_path / "root", tmp_path / "cgroup")
    assert found == [tmp_path / "root" / path for path in expected]


def test_where_there_are_none(tmp_path: Path) -> None:
    """Only the root is left, which other systems do not have either."""
    assert groups(tmp_path, tmp_path / "absent") == [tmp_path]
