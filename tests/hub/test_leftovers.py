"""What `llm prune` finds, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from caches import COMMIT, OLD, HubCache, sha256

from lokal.hub import leftovers
from lokal.hub.leftovers import Pruning

A, B = b"a" * 1000, b"b" * 500


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return HubCache(tmp_path / "hub")


def kinds(pruning: Pruning) -> list[tuple[str, str]]:
    return [(left.kind, left.path.name) for left in pruning.leftovers]


def test_a_tidy_cache_has_none(cache: HubCache) -> None:
    cache.put("o/r", "a.gguf", A)
    cache.put("o/r", "b.gguf", B, commit=OLD, ref="refs/pr/1")
    assert leftovers.find() == Pruning((), (), ())


def test_every_kind_is_found_and_goes(cache: HubCache) -> None:
    kept = cache.put("o/r", "a.gguf", A)
    cache.put("o/r", "a.gguf", A, commit=OLD, ref=None)
    cache.put("o/r", "old.gguf", B, commit=OLD, ref=None)
    cache.partial("o/r", "d" * 64, b"12345")
    cache.partial("o/r", "d" * 64, b"{}", kind="lokal.state")
    broken = kept.with_name("gone.gguf")
    broken.symlink_to("../../blobs/" + "e" * 64)
    (cache.folder("o/r") / "blobs" / ("f" * 64)).write_bytes(b"orphan")
    staged = cache.folder("o/r") / "lokal.staging" / "x" / "y.incomplete"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"123")
    assert not cache.is_sound()
    pruning = leftovers.find()
    assert kinds(pruning) == [
        ("revision", OLD),
        ("link", "gone.gguf"),
        ("partial", "y.incomplete"),
        ("partial", f"{'d' * 64}.1a2b.incomplete"),
        ("partial", f"{'d' * 64}.lokal.state.incomplete"),
        ("blob", "f" * 64),
    ]
    assert pruning.freed == 500 + 5 + 2 + 6 + 3
    leftovers.remove(pruning)
    assert cache.files() == [
        f"models--o--r/blobs/{sha256(A)}",
        "models--o--r/refs/main",
        f"models--o--r/snapshots/{COMMIT}/a.gguf",
    ]
    assert cache.is_sound()
    assert kept.read_bytes() == A


def test_the_holes_of_a_partial_free_nothing(cache: HubCache) -> None:
    """Ranges arrive in any order, so the file is long before it is big."""
    with cache.partial("o/r", "d" * 64, b"").open("wb") as file:
        file.truncate(10**9)
        file.write(b"x" * 1000)
    assert 1000 <= leftovers.find().freed < 10**6


def test_nothing_but_a_partial_leaves_nothing(cache: HubCache) -> None:
    cache.partial("o/r", "d" * 64)
    leftovers.remove(leftovers.find())
    assert not cache.folder("o/r").exists()


@pytest.mark.parametrize("name", ["d" * 64, sha256(A)])
def test_a_repository_that_is_being_downloaded_is_left_alone(cache: HubCache, name: str) -> None:
    """The first file of two may be there already, in a revision that no ref points to yet."""
    cache.put("o/r", "a-00001-of-00002.gguf", A, ref=None)
    cache.partial("o/r", "d" * 64)
    cache.partial("o/other", "d" * 64)
    with cache.locked("o/r", name):
        pruning = leftovers.find()
    assert pruning.busy == ("o/r",)
    assert {left.repo for left in pruning.leftovers} == {"o/other"}
    assert leftovers.find().busy == ()


def test_models_of_other_kinds_are_none_of_our_business(cache: HubCache) -> None:
    """Revisions that somebody pinned for another tool are not ours to judge."""
    cache.put("o/safe", "model.safetensors", A, ref=None)
    assert leftovers.find().leftovers == ()
