"""The control groups that this process is in."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def groups(root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> list[Path]:
    """The folders of this process's group and of all above it: each one's limits hold.

    In a container the root itself is the group, whatever path the host knows it by.
    """
    own = PurePosixPath("/")
    try:
        for line in membership.read_text().splitlines():
            if line.startswith("0::/"):  # cgroup v2
                own = PurePosixPath(line.removeprefix("0::"))
    except (OSError, ValueError):
        pass
    return [root / path.relative_to("/") for path in (own, *own.parents)]
