"""`llm rm`: what is named goes, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from caches import COMMIT, OLD, HubCache, sha256
from command import Llm, Terminal, assert_error, finish

MISTRAL = "bartowski/Mistral-7B-Instruct-v0.3-GGUF"
Q4, Q8 = (f"Mistral-7B-Instruct-v0.3-{quant}.gguf" for quant in ("Q4_K_M", "Q8_0"))


@pytest.fixture
def mistral(cache: HubCache) -> HubCache:
    cache.put(MISTRAL, Q4, b"4" * 4000)
    cache.put(MISTRAL, Q8, b"8" * 8000)
    cache.put("me/other", "x-Q4_K_M.gguf", b"x" * 1000)
    return cache


def left(cache: HubCache) -> list[str]:
    """The names of what snapshots hold."""
    return sorted(Path(name).name for name in cache.files() if "/snapshots/" in name)


@pytest.mark.parametrize(
    ("names", "removed", "freed"),
    [
        (["mistral"], [Q4], 4000),
        (["MISTRAL@q8_0"], [Q8], 8000),
        (["mistral", "mistral@Q8_0"], [Q4, Q8], 12000),
        ([f"{MISTRAL}:Q8_0"], [Q8], 8000),
        ([f"hf.co/{MISTRAL}:{Q4}", "mistral"], [Q4], 4000),
        ([MISTRAL], [Q4, Q8], 12000),
        (["me/other"], ["x-Q4_K_M.gguf"], 1000),
    ],
)
def test_what_is_named_goes(
    llm: Llm, mistral: HubCache, names: list[str], removed: list[str], freed: int
) -> None:
    before = left(mistral)
    result = llm.run("rm", "-y", "--json", *names)
    assert (result.code, result.stderr) == (0, ""), result
    assert (result.json["freed"], result.json["dry_run"]) == (freed, False)
    assert left(mistral) == [name for name in before if name not in removed]
    assert mistral.is_sound()


@pytest.mark.usefixtures("mistral")
def test_the_hugging_face_tool_sees_a_cache_in_order(llm: Llm) -> None:
    assert llm.run("rm", "-yq", "mistral").stderr == ""
    assert llm.run("rm", "-yq", "me/other").stderr == ""
    tool = Path(sys.executable).with_name("hf")
    done = subprocess.run(
        [tool, "cache", "ls", "--no-truncate"],
        env=llm.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert MISTRAL in done.stdout
    assert "me/other" not in done.stdout
    assert "warning" not in done.stdout + done.stderr


def test_a_path_as_ls_shows_it_will_do(llm: Llm, mistral: HubCache) -> None:
    path = mistral.folder(MISTRAL) / "snapshots" / COMMIT / Q8
    assert llm.run("rm", "-y", path).code == 0
    assert left(mistral) == [Q4, "x-Q4_K_M.gguf"]


def test_a_dry_run_shows_and_touches_nothing(llm: Llm, mistral: HubCache) -> None:
    before = mistral.files()
    result = llm.run("rm", "mistral", "--dry-run")
    assert (result.code, result.stderr, result.text) == (0, "would free 4 kB\n", "mistral@Q4_K_M\n")
    assert llm.run("rm", "mistral", "--dry-run", "--json").json == {
        "removed": ["mistral@Q4_K_M"],
        "freed": 4000,
        "dry_run": True,
    }
    assert mistral.files() == before


def test_without_a_terminal_it_wants_a_yes(llm: Llm, mistral: HubCache) -> None:
    before = mistral.files()
    result = llm.run("rm", "mistral", "--json")
    assert_error(result, 2, "nobody is there to be asked", "hint: -y", as_json=True)
    assert mistral.files() == before


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130), (b"\n", 130)])
def test_at_a_terminal_it_asks(llm: Llm, mistral: HubCache, answer: bytes, code: int) -> None:
    before = mistral.files()
    with Terminal() as terminal, llm.start("rm", "mistral", **terminal.streams) as process:
        asked = terminal.read_until(b"[y/N] ")
        assert b"mistral@Q4_K_M" in asked
        assert b"free 4 kB?" in asked
        assert mistral.files() == before
        terminal.type(answer)
        assert finish(process).code == code
    assert (mistral.files() == before) == (code != 0)


def test_the_version_from_before_an_update_goes_too(llm: Llm, cache: HubCache) -> None:
    """Nobody would ever ask for it again; a version that a tag keeps stays."""
    cache.put(MISTRAL, Q4, b"old" * 1000, commit=OLD, ref=None)
    cache.put(MISTRAL, Q4, b"tagged" * 1000, commit="a" * 40, ref="v1")
    cache.put(MISTRAL, Q4, b"new" * 1000)
    assert llm.run("rm", "-y", "--json", "mistral").json["freed"] == 6000
    assert [name for name in cache.files() if "/blobs/" in name] == [
        f"models--{MISTRAL.replace('/', '--')}/blobs/{sha256(b'tagged' * 1000)}"
    ]
    assert cache.is_sound()


def test_an_interrupted_download_goes_by_its_models_name(llm: Llm, cache: HubCache) -> None:
    cache.partial(MISTRAL, "d" * 64, b"12345")
    result = llm.run("rm", "-y", "--json", "mistral")
    assert result.json["freed"] == 5
    assert cache.files() == []


def test_a_download_that_is_under_way_stays(llm: Llm, mistral: HubCache) -> None:
    mistral.partial("me/new", "d" * 64)
    before = mistral.files()
    with mistral.locked("me/new", "d" * 64), mistral.locked(MISTRAL, sha256(b"4" * 4000)):
        for name in ("me/new", "mistral"):
            assert_error(llm.run("rm", "-yq", name), 2, "is being downloaded right now")
    assert mistral.files() == before


def test_what_does_not_run_can_go_too(llm: Llm, cache: HubCache) -> None:
    """`llm ls` does not list the first of two shards, or a projector, but they take room."""
    cache.put("me/big", "x-Q4_K_M-00001-of-00002.gguf", b"1" * 100)
    cache.put("me/big", "mmproj-x.gguf", b"2" * 50)
    assert llm.run("rm", "-y", "--json", "me/big:x-Q4_K_M.gguf").json["freed"] == 100
    assert llm.run("rm", "-y", "--json", "me/big:mmproj-x.gguf").json["freed"] == 50
    assert cache.files() == []


def test_shards_go_together(llm: Llm, cache: HubCache) -> None:
    for number in (1, 2):
        cache.put("me/big", f"x-Q4_K_M-0000{number}-of-00002.gguf", bytes([number]) * 100)
    assert llm.run("rm", "-y", "--json", "me/big:Q4_K_M").json == {
        "removed": ["hf.co/me/big:x-Q4_K_M.gguf"],
        "freed": 200,
        "dry_run": False,
    }
    assert cache.files() == []


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("tiny", 2, ["tiny is part of lokal itself"]),
        ("mixtral", 3, ["mixtral is not on this machine", "llm ls"]),
        ("mistral@Q5_K_M", 3, ["is not on this machine", "mistral@Q4_K_M, mistral@Q8_0"]),
        ("mistrel", 3, ["did you mean mistral"]),
        ("me/nothing", 3, ["hf.co/me/nothing is not on this machine"]),
        ("me/other:Q8_0", 3, ["not on this machine", "hf.co/me/other:x-Q4_K_M.gguf"]),
    ],
)
def test_what_cannot_go_is_said(
    llm: Llm, mistral: HubCache, name: str, code: int, words: list[str]
) -> None:
    before = mistral.files()
    # What can go stays as well, where one name is wrong.
    assert_error(llm.run("rm", "-y", "mistral", name), code, *words)
    assert mistral.files() == before


def test_a_file_outside_the_cache_is_its_owners(llm: Llm, tmp_path: Path, llama: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(llama.read_bytes())
    llm.run("models", "add", "mine", mine)
    assert_error(llm.run("rm", "-y", mine), 2, "does not lie in the cache")
    assert_error(llm.run("rm", "-y", "mine"), 2, "does not lie in the cache", "yours to delete")
    assert mine.exists()
