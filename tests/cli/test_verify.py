"""`llm verify`: every byte, against the checksum that it was published with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from caches import HubCache, sha256
from command import Llm, assert_error
from small_hub import SmallHub

from lokal.cli.verify import Hashing

MISTRAL, FILE = "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf"


def verdicts(llm: Llm, *args: str, code: int = 0, **options: Any) -> dict[str, str]:
    result = llm.run("verify", "--json", *args, **options)
    assert result.code == code, result
    return {item["name"]: item["status"] for item in result.json if item["name"] != "tiny"}


def damage(path: Path) -> None:
    """Rot: one bit, while size and times stay."""
    path = path.resolve()
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("xet", [False, True])
def test_rot_and_truncation_are_found(llm: Llm, cache: HubCache, weights: bytes, xet: bool) -> None:
    """A file of an old library, or one that Xet brought, where the blob is itself a link."""
    whole = cache.put(MISTRAL, FILE, weights, xet=xet)
    rotten = cache.put("me/x", "rotten.gguf", weights + b"1", xet=xet)
    short = cache.put("me/x", "short.gguf", weights + b"2", xet=xet)
    names = ("mistral@Q4_K_M", "hf.co/me/x:rotten.gguf", "hf.co/me/x:short.gguf")
    assert verdicts(llm) == dict.fromkeys(names, "ok")
    damage(rotten)
    os.truncate(short, 1000)
    assert verdicts(llm, code=7) == dict(zip(names, ("ok", "damaged", "damaged"), strict=True))
    result = llm.run("verify", "mistral", "me/x")
    assert result.code == 7
    lines = result.text.splitlines()
    assert lines[0] == "ok        mistral@Q4_K_M"
    assert lines[1].startswith("damaged   hf.co/me/x:rotten.gguf  its sha256 is ")
    assert lines[2].startswith("damaged   hf.co/me/x:short.gguf  ")
    assert result.stderr.splitlines() == [
        "error: 2 of 3 files are damaged",
        "hint: --repair fetches it again",
    ]
    assert verdicts(llm, "mistral") == {"mistral@Q4_K_M": "ok"}
    assert whole.read_bytes() == weights


def test_a_truncated_model_says_how_much_is_there(
    llm: Llm, cache: HubCache, weights: bytes
) -> None:
    path = cache.put("me/x", "x.gguf", weights)
    size = len(weights)
    os.truncate(path, size - 100)
    (verdict,) = llm.run("verify", "me/x", "--json").json
    assert verdict["problem"] == f"truncated: {size - 100} of {size} bytes are there"
    assert verdict["sha256"] == sha256(weights)


def test_every_shard_is_looked_at(llm: Llm, cache: HubCache, shards: list[bytes]) -> None:
    paths = [
        cache.put("me/big", f"x-0000{number}-of-0000{len(shards)}.gguf", data)
        for number, data in enumerate(shards, 1)
    ]
    damage(paths[-1])
    found = llm.run("verify", "me/big", "--json").json
    assert [item["status"] for item in found] == ["ok"] * (len(shards) - 1) + ["damaged"]


def test_a_file_without_a_stated_checksum_is_remembered(
    llm: Llm, cache: HubCache, weights: bytes
) -> None:
    """Where the cache has no links (Windows), nothing in it tells the checksum."""
    path = cache.put("me/x", "x.gguf", weights, copy=True)
    assert verdicts(llm) == {"hf.co/me/x:x.gguf": "unknown"}
    assert verdicts(llm) == {"hf.co/me/x:x.gguf": "ok"}
    damage(path)
    assert verdicts(llm, code=7) == {"hf.co/me/x:x.gguf": "damaged"}


def test_what_is_not_here_cannot_be_verified(llm: Llm) -> None:
    assert_error(llm.run("verify", "mixtral", "--json"), 3, "not on this machine", as_json=True)
    assert llm.run("verify", "-q").stderr == ""


@pytest.mark.parametrize("xet", [False, True])
def test_repair_fetches_damaged_files_again(
    llm: Llm, cache: HubCache, weights: bytes, xet: bool
) -> None:
    path = cache.put(MISTRAL, FILE, weights, xet=xet)
    sound = cache.put("me/x", "x.gguf", weights + b"1", xet=xet)
    damage(path)
    with SmallHub({MISTRAL: {FILE: weights}}) as hub:
        online = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        assert verdicts(llm, "--repair", env=online) == {
            "mistral@Q4_K_M": "repaired",
            "hf.co/me/x:x.gguf": "ok",
        }
    assert path.read_bytes() == weights
    assert sound.read_bytes() == weights + b"1"
    assert verdicts(llm) == {"mistral@Q4_K_M": "ok", "hf.co/me/x:x.gguf": "ok"}
    assert cache.is_sound()


def test_offline_repair_removes_nothing(llm: Llm, cache: HubCache, weights: bytes) -> None:
    path = cache.put(MISTRAL, FILE, weights)
    damage(path)
    before = path.read_bytes()
    assert_error(llm.run("verify", "--repair", "mistral"), 5, "the network is switched off")
    assert path.read_bytes() == before


def test_what_cannot_be_fetched_again_stays_damaged(
    llm: Llm, cache: HubCache, weights: bytes
) -> None:
    """A file of a revision that main has left, and a projector, which pull does not fetch."""
    old = cache.put("me/x", "x.gguf", weights, commit="d" * 40, ref="v1")
    projector = cache.put("me/x", "mmproj-x.gguf", weights + b"1")
    for path in (old, projector):
        damage(path)
    result = llm.run("verify", "--repair", "me/x", env={"HF_HUB_OFFLINE": "0"})
    assert result.code == 7
    assert "no download mends what is left" in result.stderr
    assert old.exists()
    assert projector.exists()


def test_a_big_file_is_not_hashed_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line at the start, one every few seconds; nothing for what takes no time."""
    now = iter([0.0, 1.0, 6.0, 6.0, 7.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    hashing = Hashing()
    hashing.begin("big", 10**10)
    for done in (10**9, 6 * 10**9, 7 * 10**9):
        hashing.at(done)
    monkeypatch.undo()
    hashing.begin("small", 10**6)
    hashing.at(10**6)
    assert capsys.readouterr().err == "hashing big (10.0 GB)\nbig: 60%\n"
