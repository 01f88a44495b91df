"""`llm models`: a table to choose from, and names of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from caches import HubCache
from command import Llm, assert_error


def test_what_fits_comes_first_and_everything_comes(llm: Llm) -> None:
    found = llm.run("models", "--json").json
    fits = [offer["fits"] for offer in found]
    assert fits == sorted(fits, key=lambda fit: not fit)
    names = {offer["ref"]: offer for offer in found}
    assert len(names) == len(found) > 55
    deepseek = names["deepseek-r1:671b"]
    assert deepseek["memory"] > deepseek["size"] == 404 * 10**9
    assert deepseek["license"]["open_source"]
    assert not deepseek["here"]
    assert deepseek["confidence"] == "seen"


def test_the_table_marks_what_is_here_and_what_is_not_open_source(
    llm: Llm, cache: HubCache
) -> None:
    cache.put("bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q8_0.gguf", b"x")
    lines = llm.run("models").text.splitlines()
    titles = ["NAME", "TITLE", "PARAMETERS", "SIZE", "MEMORY", "FITS", "HERE", "LICENSE"]
    assert lines[0].split() == titles
    line = next(line for line in lines if line.startswith("llama3.2:1b "))
    here = line[lines[0].index("HERE") : lines[0].index("LICENSE")].strip()
    assert here == "yes"
    assert line.endswith("Llama-3.2 (not open source)")
    assert "1.24B" in line
    other = next(line for line in lines if line.startswith("llama3.2 "))
    assert other[lines[0].index("HERE") : lines[0].index("LICENSE")].strip() == "-"


@pytest.mark.parametrize(
    ("ref", "fields"),
    [
        (
            "me/House-7B-GGUF",
            {
                "title": "House-7B",
                "repo": "me/House-7B-GGUF",
                "file": "House-7B-{quant}.gguf",
                "quant": "Q4_K_M",
                "confidence": "inferred",
            },
        ),
        ("hf.co/me/house-gguf:Q8_0", {"file": "house-{quant}.gguf", "quant": "Q8_0"}),
        (
            "me/x:sub/x.UD-Q5_K_XL.gguf",
            {"file": "sub/x.{quant}.gguf", "quant": "UD-Q5_K_XL", "confidence": "seen"},
        ),
        (
            "me/x:Q4_0/x-Q4_0-00001-of-00002.gguf",
            {"file": "{quant}/x-{quant}.gguf", "quant": "Q4_0"},
        ),
        ("me/x:plain.gguf", {"file": "plain.gguf", "quant": "plain.gguf"}),
    ],
)
def test_a_repository_gets_a_name(llm: Llm, ref: str, fields: dict[str, str]) -> None:
    result = llm.run("models", "add", "house", ref)
    assert (result.code, result.stdout) == (0, b"")
    assert "house is in" in result.stderr
    offers = {offer["ref"]: offer for offer in llm.run("models", "--json").json}
    house = offers["house"]
    assert {key: house[key] for key in fields} == fields
    assert house["license"]["id"] == "LicenseRef-unknown"
    assert house["origin"]["name"] == "me"
    assert llm.run("show", "house").code == 0


@pytest.mark.parametrize(
    ("file", "name"),
    [("x-Q8_0.gguf", "house@Q8_0"), ("plain.gguf", "house@plain.gguf")],
)
def test_a_name_finds_what_is_cached(
    llm: Llm, cache: HubCache, weights: bytes, file: str, name: str
) -> None:
    path = cache.put("me/x", file, weights)
    llm.run("models", "add", "house", f"me/x:{file}")
    assert llm.run("show", "house", "--json").json["path"] == str(path)
    assert name in llm.run("ls").text


def test_a_file_gets_a_name(llm: Llm, llama: Path) -> None:
    result = llm.run("models", "add", "house", llama, "--json")
    assert result.json == {"name": "house", "path": str(llm.config / "models.toml")}
    assert llm.run("run", "house", "hi", "-n", "1").code == 0
    shown = llm.run("show", "house", "--json").json
    assert (shown["path"], shown["model"]) == (str(llama), "house")


def test_a_second_time_needs_force(llm: Llm) -> None:
    assert llm.run("models", "add", "house", "me/one").code == 0
    assert_error(llm.run("models", "add", "house", "me/two", "--json"), 2, "--force", as_json=True)
    assert llm.run("models", "add", "house", "me/two", "--force", "-q").stderr == ""
    assert llm.run("show", "house", "--json").json["repo"] == "me/two"


@pytest.mark.parametrize(
    ("name", "ref", "code", "words"),
    [
        ("mistral", "me/x", 2, ["built-in"]),
        ("My Model", "me/x", 2, ["no name for a model"]),
        ("house", "mistral@Q8_0", 2, ["has a name already"]),
        ("house", "nowhere.gguf", 3, ["nowhere.gguf"]),
        ("house", "a/b/c", 3, ["no repository name"]),
    ],
)
def test_what_cannot_be_added_is_said(
    llm: Llm, name: str, ref: str, code: int, words: list[str]
) -> None:
    assert_error(llm.run("models", "add", name, ref), code, *words)
    assert not (llm.config / "models.toml").exists()


def test_config_and_environment_reach_the_verb_below(llm: Llm) -> None:
    (llm.config / "config.toml").write_text("[models]\nquiet = true\n")
    llm.run("models", "add", "house", "me/one")
    result = llm.run("models", "add", "house", "me/two", "--force")
    assert (result.code, result.stderr) == (0, ""), result
