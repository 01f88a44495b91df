"""`llm doctor`: what it finds, what it says about it, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from caches import HubCache
from command import Llm, Result, Terminal, finish
from standin import GOOD_TOKEN, Standin

from lokal.cli.app import check_config
from lokal.errors import UsageError

STATES = ("ok", "note", "warning", "failure")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Standin]:
    with Standin(tmp_path / "hub") as standin:
        yield standin


def checks(result: Result, name: str) -> list[Any]:
    """State, message and hint of the findings of that name."""
    found = [check for check in result.json["checks"] if check["name"] == name]
    return [(check["state"], check["message"], check["hint"]) for check in found]


def test_each_finding_is_a_line_and_what_is_not_ok_has_a_hint(llm: Llm, cache: HubCache) -> None:
    """Offline nothing is asked, and what is here works."""
    cache.put("me/x", "x.gguf", b"x")
    result = llm.run("doctor", env={"HF_TOKEN": "hf_secret"})
    assert (result.code, result.stderr) == (0, "")
    lines = result.text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        state = line.split()[0]
        assert state in (*STATES, "hint:"), line
        assert following.startswith("hint: ") == (state not in ("ok", "hint:")), line
    assert "\x1b" not in result.text
    assert "hf_secret" not in result.text
    assert "note     hub: not asked, the network is switched off" in lines
    assert "note     token: from HF_TOKEN, not checked" in lines
    assert f"ok       cache: {cache.root} (by HF_HOME) holds 1 models, 0.0 GB" in lines
    assert "ok       cache: no broken links and no leftovers" in result.text
    assert "ok       self-test: CPU: tiny writes 24 tokens at " in result.text


def test_json_is_one_value_with_everything(llm: Llm) -> None:
    result = llm.run("doctor", "--json", "--offline", env={"HF_HUB_OFFLINE": "0"})
    assert (result.code, result.stderr) == (0, "")
    report = result.json
    assert list(report) == ["versions", "build", "devices", "checks"]
    assert {"lokal", "python", "llama-cpp-python", "llama.cpp"} <= set(report["versions"])
    assert "CPU" in report["build"]["backends"]
    assert "CPU" in [device["name"] for device in report["devices"]]
    assert all(list(check) == ["name", "state", "message", "hint"] for check in report["checks"])
    assert all((check["state"] == "ok") == (check["hint"] is None) for check in report["checks"])


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colour_is_for_terminals(llm: Llm, no_color: str) -> None:
    with Terminal() as terminal:
        streams = {**terminal.streams, "env": {"NO_COLOR": no_color}}
        with llm.start("doctor", **streams) as process:
            seen = terminal.read_until(b"self-test: CPU")
            assert finish(process).code == 0
    assert (b"\x1b[32mok" in seen) == (not no_color)
    assert (b"\x1b" in seen) == (not no_color)


def test_the_hub_is_asked_as_a_stranger_and_then_whose_the_token_is(llm: Llm, hub: Standin) -> None:
    online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint}
    result = llm.run("doctor", env={**online, "HF_TOKEN": GOOD_TOKEN})
    assert (result.code, result.stderr) == (0, f"asking {hub.endpoint} (not with --offline)\n")
    assert f"ok       hub: {hub.endpoint} answers in " in result.text
    assert "ok       token: from HF_TOKEN, valid for somebody" in result.text
    assert GOOD_TOKEN not in result.text
    asked = [(request["kind"], request["auth"]) for request in hub.requests()]
    assert asked == [("list", None), ("whoami", GOOD_TOKEN)]


def test_an_invalid_token_fails_as_a_pull_would_and_is_not_shown(llm: Llm, hub: Standin) -> None:
    home = llm.cache / "token"
    home.parent.mkdir()
    home.write_text("hf_wrong\n", encoding="utf-8")
    env = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint}
    result = llm.run("doctor", "--json", "-q", env=env)
    assert (result.code, result.stderr) == (4, "")
    [(state, message, hint)] = checks(result, "token")
    assert state == "failure"
    assert message.endswith(f"(from {home})")
    assert "hf auth login" in hint
    assert "rong" not in result.text


def test_a_hub_that_nobody_answers_for_is_a_network_failure(llm: Llm) -> None:
    """The token is then not judged; what is here is looked at all the same."""
    nobody = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_wrong"}
    result = llm.run("doctor", "--json", env=nobody)
    assert result.code == 8
    [(state, message, hint)] = checks(result, "hub")
    assert state == "failure"
    assert "cannot be reached" in message
    assert hint
    assert checks(result, "token")[0][:2] == ("note", "from HF_TOKEN, not checked")
    assert checks(result, "self-test")[0][0] == "ok"


@pytest.mark.parametrize("text", ["temp = ", 'offline = "banana"'])
def test_a_broken_config_is_a_finding_among_others(llm: Llm, text: str) -> None:
    (llm.config / "config.toml").write_text(text)
    result = llm.run("doctor", "--json")
    assert result.code == 2
    [(state, message, _)] = checks(result, "settings")
    assert state == "failure"
    assert "config.toml" in message
    assert checks(result, "self-test")[0][0] == "ok"


@pytest.mark.parametrize("text", ["no_such_option = 1", 'temp = "x"', '[run]\nctx = "much"'])
def test_what_a_verb_would_refuse_is_found_without_calling_it(
    llm: Llm, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LOKAL_CONFIG_DIR", str(llm.config))
    (llm.config / "config.toml").write_text("top_k = 40\nstop = ['a', 'b']\n")
    check_config()
    (llm.config / "config.toml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        check_config()


def test_a_broken_registry_and_a_state_that_cannot_be_kept(llm: Llm) -> None:
    (llm.config / "models.toml").write_text("[model.x]\nrepo = 3\n")
    (llm.home / "state").write_text("a file where a directory belongs")
    result = llm.run("doctor", "--json")
    assert result.code == 2
    (state, message, _), (second, about, hint) = checks(result, "settings")
    assert (state, second) == ("failure", "warning")
    assert "models.toml" in message
    assert str(llm.home / "state") in about
    assert "LOKAL_STATE_DIR" in hint


def test_what_is_broken_in_the_cache(llm: Llm, cache: HubCache, shards: list[bytes]) -> None:
    """It is counted, and told how to mend; nothing is touched."""
    whole = cache.put("me/x", "x.gguf", b"x" * 1000)
    gone = cache.put("me/x", "gone.gguf", b"gone")
    gone.resolve().unlink()
    (whole.parent / "odd.gguf").symlink_to(llm.config)
    (cache.folder("me/x") / "blobs" / ("e" * 64)).write_bytes(b"orphan" * 1000)
    cache.partial("me/x", "d" * 64)
    name = f"s-Q4_K_M-00001-of-{len(shards):05d}.gguf"
    cache.put("me/s", name, shards[0])
    before = cache.files()
    result = llm.run("doctor", "--json")
    assert result.code == 0
    found = checks(result, "cache")
    assert [state for state, _, _ in found] == ["ok", "warning", "warning", "warning"]
    assert found[1][1].startswith(
        "1 files that nothing refers to, 1 broken links, 1 interrupted downloads; 0.00 GB"
    )
    assert "llm prune" in found[1][2]
    assert "lacks" in found[2][1]
    assert found[2][2].startswith("`llm pull hf.co/me/s:s-Q4_K_M")
    assert "odd.gguf" in found[3][1]
    assert cache.files() == before


def test_a_cache_that_is_a_file(llm: Llm) -> None:
    place = llm.home / "file"
    place.write_bytes(b"")
    result = llm.run("doctor", "--json", env={"HF_HUB_CACHE": str(place / "hub")})
    assert result.code == 2
    [(state, message, hint)] = checks(result, "cache")
    assert state == "failure"
    assert message == f"{place}/hub (by HF_HUB_CACHE): {place} is no directory"
    assert "HF_HUB_CACHE" in hint
