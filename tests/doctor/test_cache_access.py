"""A cache of which parts belong to somebody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from caches import HubCache

from lokal.doctor.finding import bounded

# Root may do everything, so the question is asked by nobody; modules are imported before that.
ASK = """
import json, os
from lokal.doctor import cache
from lokal.hub import leftovers
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(json.dumps(list(cache.check_cache())))
"""


@pytest.fixture
def cache() -> Iterator[HubCache]:
    """A cache that everybody may use; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as place:
        made = HubCache(Path(place) / "hub")
        made.put("me/x", "x.gguf", b"x")
        made.put("me/y", "y.gguf", b"y")
        (made.root / ".locks" / "models--me--x").mkdir(parents=True)
        for path in (Path(place), *Path(place).rglob("*")):
            path.chmod(0o777)
        yield made


def ask(cache: HubCache) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "HF_HUB_CACHE": str(cache.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(found) for found in json.loads(done.stdout)]


def test_what_is_closed_to_this_user_is_a_warning(cache: HubCache) -> None:
    assert [state for _, state, *_ in ask(cache)] == ["ok", "ok"]
    blob = next((cache.folder("me/x") / "blobs").iterdir())
    locks = cache.root / ".locks" / "models--me--x"
    closed = (locks, blob, cache.folder("me/y"))
    for path in closed:
        path.chmod(0)
    (_, state, message, hint, _), *_ = ask(cache)
    for path in closed:
        path.chmod(0o777)
    assert state == "warning"
    # The blob counts with the link to it.
    assert message.startswith(f"this user may not use {locks} and 3 more")
    assert "chown" in hint


def test_a_disk_that_fails_is_named() -> None:
    def look() -> list[Any]:
        return [Path("/etc/passwd/x").stat()]

    [found] = bounded("x", look, 60)
    assert (found.state, found.message) == ("failure", "/etc/passwd/x: Not a directory")
