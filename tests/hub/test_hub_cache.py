"""What is in the shared cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lokal.hub import cache

COMMIT, OLDER = "c" * 40, "b" * 40


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(root: Path, repo: str, commit: str, file: str, data: bytes) -> Path:
    """Store a file the way huggingface_hub does: a blob, and a link to it."""
    folder = root / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / f"{commit}-{file.replace('/', '-')}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    link = folder / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def test_every_gguf_file_is_listed(root: Path) -> None:
    second = put(root, "b/two", COMMIT, "sub/y-Q8_0.gguf", b"12345")
    first = put(root, "a/one", COMMIT, "x-Q4_K_M.gguf", b"123")
    older = put(root, "a/one", OLDER, "x-Q4_K_M.gguf", b"12")
    put(root, "a/one", COMMIT, "README.md", b"#")
    os.utime(first, (2e9, 1e9))
    os.utime(second, (1e9, 2e9))
    models = cache.cached()
    assert [(m.repo, m.file, m.commit, m.size, m.path) for m in models] == [
        ("a/one", "x-Q4_K_M.gguf", OLDER, 2, older),
        ("a/one", "x-Q4_K_M.gguf", COMMIT, 3, first),
        ("b/two", "sub/y-Q8_0.gguf", COMMIT, 5, second),
    ]
    assert [m.last_used for m in models[1:]] == [2e9, 2e9]


def test_broken_links_and_strange_files_do_no_harm(root: Path) -> None:
    link = put(root, "a/one", COMMIT, "gone.gguf", b"123")
    link.resolve().unlink()
    kept = put(root, "a/one", COMMIT, "kept.gguf", b"1")
    (root / "models--broken").write_text("a file in place of a directory")
    (root / "datasets--a--b" / "snapshots" / COMMIT).mkdir(parents=True)
    (root / "datasets--a--b" / "snapshots" / COMMIT / "x.gguf").write_text("no model")
    (root / "version.txt").write_text("1")
    assert [m.path for m in cache.cached()] == [kept]


def test_a_missing_cache_is_an_empty_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(root / "none"))
    assert cache.cached() == []
    assert cache.commit("a/one") is None


def test_the_commit_of_main(root: Path) -> None:
    refs = root / "models--a--one" / "refs"
    refs.mkdir(parents=True)
    assert cache.commit("a/one") is None
    (refs / "main").write_text(f"{COMMIT}\n")
    assert cache.commit("a/one") == COMMIT


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HUB_CACHE": "/c"},
        {"HF_HUB_CACHE": "~/c"},
        {"HF_HUB_CACHE": "$HOME/d"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
        {"HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/c"},
        {"HF_HOME": "/h"},
        {"HF_HOME": "~/h"},
        {"XDG_CACHE_HOME": "/x"},
        {"XDG_CACHE_HOME": "/x", "HF_HOME": "$XDG_CACHE_HOME/h"},
    ],
    ids=str,
)
def test_the_directory_is_the_one_that_huggingface_hub_uses(
    variables: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "from lokal.hub import cache; from huggingface_hub import constants;"
        "print(cache.root()); print(constants.HF_HUB_CACHE)"
    )
    env = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    ours, theirs = done.stdout.splitlines()
    assert ours == theirs
