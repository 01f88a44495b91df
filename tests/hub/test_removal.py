"""Taking files out of the cache: what goes, what stays, and in whose presence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from caches import COMMIT, OLD, HubCache, sha256

from lokal.errors import UsageError
from lokal.hub.removal import discard, execute, plan

A, B = b"a" * 1000, b"b" * 500


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return HubCache(tmp_path / "hub")


def test_one_file_of_two_goes_with_its_blob(cache: HubCache) -> None:
    link = cache.put("o/r", "sub/a.gguf", A)
    cache.put("o/r", "b.gguf", B)
    removal = plan(cache.folder("o/r"), [link])
    assert removal.freed == 1000
    execute(removal)
    assert cache.files() == [
        f"models--o--r/blobs/{sha256(B)}",
        "models--o--r/refs/main",
        f"models--o--r/snapshots/{COMMIT}/b.gguf",
    ]
    assert not (cache.folder("o/r") / "snapshots" / COMMIT / "sub").exists()
    assert cache.is_sound()


def test_a_blob_that_another_revision_shares_stays(cache: HubCache) -> None:
    old = cache.put("o/r", "a.gguf", A, commit=OLD, ref="v1")
    new = cache.put("o/r", "a.gguf", A)
    removal = plan(cache.folder("o/r"), [new])
    assert (removal.freed, removal.blobs) == (0, ())
    execute(removal)
    assert old.read_bytes() == A
    assert not (cache.folder("o/r") / "refs" / "main").exists()
    assert cache.is_sound()
    assert plan(cache.folder("o/r"), [old]).freed == 1000


def test_two_that_share_a_blob_free_it_together(cache: HubCache) -> None:
    links = [
        cache.put("o/r", "a.gguf", A, commit=OLD, ref="v1"),
        cache.put("o/r", "a.gguf", A),
    ]
    removal = plan(cache.folder("o/r"), links)
    assert removal.freed == 1000
    execute(removal)
    assert list(cache.root.glob("models--*")) == []


def test_with_the_last_file_the_repository_goes(cache: HubCache) -> None:
    link = cache.put("o/r", "a.gguf", A)
    absent = cache.folder("o/r") / ".no_exist" / COMMIT / "config.json"
    absent.parent.mkdir(parents=True)
    absent.touch()
    cache.put("o/other", "b.gguf", B)
    execute(plan(cache.folder("o/r"), [link]))
    assert not cache.folder("o/r").exists()
    assert cache.folder("o/other").exists()
    assert cache.is_sound()


def test_a_copy_without_links_frees_its_own_size(cache: HubCache) -> None:
    entry = cache.put("o/r", "a.gguf", A, copy=True)
    removal = plan(cache.folder("o/r"), [entry])
    assert removal.freed == 1000
    execute(removal)
    assert cache.files() == []


def test_the_payload_of_a_xet_download_goes_with_its_last_link(cache: HubCache) -> None:
    one = cache.put("o/r", "a.gguf", A, xet=True)
    two = cache.put("o/copy", "a.gguf", A, xet=True)
    first = plan(cache.folder("o/r"), [one])
    assert first.freed == 0
    execute(first)
    assert two.read_bytes() == A
    second = plan(cache.folder("o/copy"), [two])
    assert second.freed == 1000
    execute(second)
    assert [name for name in cache.files() if len(Path(name).name) == 64] == []


def test_what_a_link_points_to_outside_the_cache_is_not_touched(
    cache: HubCache, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "mine.gguf"
    elsewhere.write_bytes(A)
    link = cache.put("o/r", "b.gguf", B).with_name("mine.gguf")
    link.symlink_to(elsewhere)
    removal = plan(cache.folder("o/r"), [link])
    assert removal.freed == 0
    execute(removal)
    assert elsewhere.read_bytes() == A
    assert not link.is_symlink()


def test_a_cache_behind_a_link_is_the_same_cache(
    cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("o/r", "a.gguf", A)
    alias = tmp_path / "alias"
    alias.symlink_to(cache.root)
    monkeypatch.setenv("HF_HUB_CACHE", str(alias))
    folder = HubCache(alias).folder("o/r")
    execute(plan(folder, [folder / "snapshots" / COMMIT / "a.gguf"]))
    assert cache.files() == []


def test_what_is_being_downloaded_stays(cache: HubCache) -> None:
    link = cache.put("o/r", "a.gguf", A)
    other = cache.put("o/r", "b.gguf", B)
    before = cache.files()
    with cache.locked("o/r", sha256(A)):
        with pytest.raises(UsageError, match="o/r is being downloaded right now"):
            execute(plan(cache.folder("o/r"), [link]))
        with pytest.raises(UsageError, match="being downloaded"):
            execute(plan(cache.folder("o/r"), [other]), whole=True)
        assert cache.files() == before
        execute(plan(cache.folder("o/r"), [other]))
    execute(plan(cache.folder("o/r"), [link]))
    assert cache.files() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_cache_that_cannot_be_written_is_told(cache: HubCache) -> None:
    link = cache.put("o/r", "a.gguf", A)
    link.parent.chmod(0o500)
    with pytest.raises(UsageError, match="cannot remove"):
        execute(plan(cache.folder("o/r"), [link]))
    link.parent.chmod(0o700)


@pytest.mark.parametrize("xet", [False, True])
def test_damaged_bytes_go_and_their_links_wait_for_new_ones(cache: HubCache, xet: bool) -> None:
    link = cache.put("o/r", "a.gguf", A, xet=xet)
    discard(link)
    assert link.is_symlink()
    assert not link.exists()
    assert [name for name in cache.files() if len(Path(name).name) == 64] == []
    (cache.folder("o/r") / "blobs" / sha256(A)).write_bytes(A)
    assert link.read_bytes() == A
