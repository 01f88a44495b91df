"""`llm ls`: everything that is here, under the name that `llm run` takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from caches import OLD, HubCache
from command import Llm

MISTRAL = "bartowski/Mistral-7B-Instruct-v0.3-GGUF"


def listed(llm: Llm) -> list[dict[str, Any]]:
    """What is there beside the built-in model."""
    result = llm.run("ls", "--json")
    assert result.code == 0, result
    return [item for item in result.json if item["name"] != "tiny"]


def test_an_empty_cache_is_an_empty_list(llm: Llm) -> None:
    assert listed(llm) == []
    assert not (llm.cache / "hub").exists()
    assert llm.run("ls").text.split("\n")[0].split() == [
        *("NAME", "QUANT", "SIZE", "LICENSE", "USED", "PATH"),
    ]


def test_a_file_has_the_registrys_name_or_its_own(
    llm: Llm, cache: HubCache, weights: bytes
) -> None:
    """Files that other tools have put there count; projectors and partials are no models."""
    named = cache.put(MISTRAL, "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf", weights)
    cache.put(MISTRAL, "Mistral-7B-Instruct-v0.3-Q8_0.gguf", weights + b"0")
    cache.put("me/other", "sub/x-Q4_K_M.gguf", weights)
    cache.put("me/other", "mmproj-x.gguf", b"not a model")
    cache.put("me/other", "config.json", b"{}")
    cache.partial("me/other", "d" * 64)
    os.utime(named, (1e9, 1.5e9))
    found = listed(llm)
    assert [(item["name"], item["quantization"], item["license"]) for item in found] == [
        ("mistral@Q4_K_M", "Q4_K_M", "Apache-2.0"),
        ("mistral@Q8_0", "Q4_K_M", "Apache-2.0"),  # what the file says, whatever its name
        ("hf.co/me/other:sub/x-Q4_K_M.gguf", "Q4_K_M", "apache-2.0"),
    ]
    assert (found[0]["size"], found[0]["last_used"]) == (len(weights), 1.5e9)
    assert found[0]["path"] == str(named)
    line = next(line for line in llm.run("ls").text.splitlines() if "mistral@Q4_K_M" in line)
    assert line.split()[:2] == ["mistral@Q4_K_M", "Q4_K_M"]
    assert line.endswith(str(named))


def test_the_names_are_those_that_run_takes(llm: Llm, cache: HubCache, weights: bytes) -> None:
    cache.put(MISTRAL, "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf", weights)
    cache.put("me/other", "sub/x-Q4_K_M.gguf", weights)
    cache.put("me/other", "x.gguf", weights + b"0", commit=OLD, ref="v1")
    for item in listed(llm):
        shown = llm.run("show", item["name"], "--json").json
        assert shown["path"] == item["path"]


def test_shards_are_one_model(llm: Llm, cache: HubCache, shards: list[bytes]) -> None:
    for number, data in enumerate(shards, 1):
        cache.put("me/big", f"Q4/x-0000{number}-of-0000{len(shards)}.gguf", data)
    cache.put("me/half", f"y-00001-of-0000{len(shards)}.gguf", shards[0])
    (whole,) = listed(llm)
    assert whole["name"] == "hf.co/me/big:Q4/x.gguf"
    assert whole["size"] == sum(map(len, shards))
    assert Path(whole["path"]).name == f"x-00001-of-0000{len(shards)}.gguf"


def test_the_same_bytes_in_two_revisions_count_once(
    llm: Llm, cache: HubCache, weights: bytes
) -> None:
    cache.put("me/x", "x.gguf", weights)
    cache.put("me/x", "x.gguf", weights, commit=OLD, ref=None)
    older = cache.put("me/x", "y.gguf", weights + b"0", commit=OLD, ref=None)
    assert [item["name"] for item in listed(llm)] == ["hf.co/me/x:x.gguf", str(older)]


def test_a_model_of_the_users_own_is_listed(llm: Llm, llama: Path) -> None:
    assert llm.run("models", "add", "house", llama).code == 0
    (house,) = listed(llm)
    assert (house["name"], house["path"]) == ("house", str(llama))
