"""`llm show`: what is known of a model, without the network."""

from __future__ import annotations

from caches import COMMIT, HubCache, sha256
from command import Llm, assert_error

MISTRAL, FILE = "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf"


def test_a_model_that_is_not_here(llm: Llm) -> None:
    facts = llm.run("show", "mixtral", "--json").json
    assert (facts["path"], facts["repo"]) == (None, "mradermacher/Mixtral-8x7B-Instruct-v0.1-GGUF")
    assert (facts["license"], facts["open_source"]) == ("Apache License 2.0", True)
    assert [(offer["quant"], offer["size"]) for offer in facts["quants"]] == [
        ("smallest", 17_300_000_000),
        ("Q4_K_M", 28_400_000_000),
        ("largest", 49_600_000_000),
    ]
    assert facts["memory"] == facts["quants"][1]["memory"] > facts["size"]
    assert facts["cached"] == []
    text = llm.run("show", "mixtral").text
    assert "not on this machine" in text
    assert "46.7B" in text
    assert "Q4_K_M: 28.4 GB" in text


def test_a_licence_that_is_not_open_source_is_a_plain_warning(llm: Llm) -> None:
    line = next(x for x in llm.run("show", "grok:2").text.splitlines() if "open_source" in x)
    assert line.split(maxsplit=1)[1] == "NO: read the licence before you use it"


def test_a_model_that_nobody_has_stated_a_licence_for(llm: Llm) -> None:
    llm.run("models", "add", "house", "me/house")
    assert "unknown: ask whoever made the weights" in llm.run("show", "house").text


def test_a_cached_model_shows_what_its_file_says(llm: Llm, cache: HubCache, weights: bytes) -> None:
    path = cache.put(MISTRAL, FILE, weights)
    cache.put(MISTRAL, FILE.replace("Q4_K_M", "Q8_0"), weights + b"0")
    facts = llm.run("show", "mistral", "--json").json
    assert (facts["path"], facts["commit"]) == (str(path), COMMIT)
    assert facts["sha256"] == sha256(weights)
    assert facts["size"] == len(weights)
    assert "[INST]" in facts["template"]
    assert [item["name"] for item in facts["cached"]] == ["mistral@Q4_K_M", "mistral@Q8_0"]
    assert "mistral@Q8_0" in llm.run("show", "mistral").text
    other = llm.run("show", f"{MISTRAL}:Q8_0", "--json").json
    assert (other["license"], other["commit"]) == ("apache-2.0", COMMIT)


def test_whisper_explains_itself(llm: Llm) -> None:
    for verb in ("show", "run"):
        assert_error(llm.run(verb, "whisper"), 3)
    assert_error(llm.run("run", "whisper", "hi"), 3, "no decoder", "whisper.cpp", "voxtral")
