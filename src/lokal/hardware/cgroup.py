"""The control groups that this process is in."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def groups(controller: str, root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> list[Path]:
    """The folders of this process's groups and of all above them: each one's limits hold.

    First those of cgroup v2, then those that v1 has for a `controller`: cpu or memory. In a
    container the root itself is the group, whatever path the host knows it by.
    """
    own = {"": PurePosixPath("/"), controller: PurePosixPath("/")}
    try:
        for line in membership.read_text().splitlines():
            names, _, path = line.partition(":")[2].partition(":")
            for name in names.split(","):  # none at all in v2
                if name in own and path.startswith("/"):
                    own[name] = PurePosixPath(path)
    except (OSError, ValueError):
        pass
    return [
        root / top / path.relative_to("/")
        for top, group in own.items()
        for path in (group, *group.parents)
    ]
