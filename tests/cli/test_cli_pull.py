"""`llm pull`, and the pull inside `run`."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import ggufs
import pytest
from command import Llm, Result, Terminal, assert_error, finish
from standin import Standin

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    """A Hub with good models (one in shards, one in parts) and bad ones."""
    root = tmp_path_factory.mktemp("hub")
    good = root / "demo" / "good"
    good.mkdir(parents=True)
    ggufs.write(good / "good-Q4_K_M.gguf", context=4096)
    whole = ggufs.write(good / "good-Q8_0.gguf", seed=1).read_bytes()
    cut = len(whole) // 2
    (good / "good-Q6_K.gguf.part1of2").write_bytes(whole[:cut])
    (good / "good-Q6_K.gguf.part2of2").write_bytes(whole[cut:])
    ggufs.write_split(good / "good-F16.gguf")
    bad = root / "demo" / "bad"
    bad.mkdir()
    ggufs.write(bad / "bad-Q4_K_M.gguf", "martian", blocks=64, width=512)
    ggufs.write(bad / "bad-Q8_0.gguf", "mixtral-2023", blocks=16, width=128)
    ggufs.write(bad / "bad-F16.gguf", blocks=64, width=512)
    with Standin(root) as standin:
        yield standin


@pytest.fixture(autouse=True)
def _quiet_hub(hub: Standin) -> None:
    hub.log.clear()
    hub.faults()
    hub.repos.clear()


def call(llm: Llm, hub: Standin, *args: str) -> Result:
    return llm.run(*args, env={"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"})


def test_stdout_is_the_path(llm: Llm, hub: Standin) -> None:
    result = call(llm, hub, "pull", "demo/good")
    assert result.code == 0
    path = Path(result.text.removesuffix("\n"))
    assert path.name == "good-Q4_K_M.gguf"
    assert path.is_relative_to(llm.cache)
    assert result.stderr == "fetching good-Q4_K_M.gguf (244 kB)\n" or "fetching" in result.stderr
    again = call(llm, hub, "pull", "demo/good")
    assert again.stdout == result.stdout
    assert again.stderr == "already here: hf.co/demo/good\n"


def test_quiet_means_the_path_and_nothing_else(llm: Llm, hub: Standin) -> None:
    for _ in range(2):
        result = call(llm, hub, "pull", "demo/good", "-q")
        assert result.text.endswith("good-Q4_K_M.gguf\n")
        assert result.stderr == ""


def test_several_models(llm: Llm, hub: Standin, llama: Path) -> None:
    """One of them is here already, as a file of the user's own."""
    result = call(llm, hub, "pull", str(llama), "demo/good:Q6_K", "demo/good:F16", "-q")
    names = [Path(line).name for line in result.text.splitlines()]
    assert names == ["llama.gguf", "good-Q6_K.gguf", "good-F16-00001-of-00002.gguf"]


def test_json_is_one_object(llm: Llm, hub: Standin, llama: Path) -> None:
    found = call(llm, hub, "pull", "demo/good:F16", "--json").json
    assert set(found) == {"path", "files", "sha256", "bytes", "repo", "commit"}
    assert (found["repo"], found["commit"]) == ("demo/good", hub.commit("demo/good"))
    contents = [Path(file["path"]).read_bytes() for file in found["files"]]
    assert [file["sha256"] for file in found["files"]] == [
        hashlib.sha256(content).hexdigest() for content in contents
    ]
    assert found["bytes"] == sum(map(len, contents))
    assert (found["path"], found["sha256"]) == tuple(found["files"][0].values())[:2]
    several = call(llm, hub, "pull", "demo/good:F16", str(llama), "--json").json
    assert several[0] == found
    assert several[1]["repo"] is None


def test_offline(llm: Llm, hub: Standin) -> None:
    refused = call(llm, hub, "pull", "demo/good", "--offline")
    assert_error(refused, 5, "demo/good is not in the cache")
    path = call(llm, hub, "pull", "demo/good").stdout
    hub.log.clear()
    assert call(llm, hub, "pull", "demo/good", "--offline").stdout == path
    assert hub.requests() == []


def test_run_asks_nobody_once_the_weights_are_here(llm: Llm, hub: Standin) -> None:
    """Not even for a newer version; a dead endpoint costs nothing."""
    call(llm, hub, "pull", "demo/good:Q6_K")
    hub.log.clear()
    args = ("run", "demo/good:Q6_K", "hello", "-n", "2")
    assert call(llm, hub, *args).code == 0
    assert hub.requests() == []
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    assert llm.run(*args, env=env).code == 0


def test_pull_brings_the_newest_version(llm: Llm, hub: Standin, tmp_path: Path) -> None:
    for seed in (1, 2):
        data = ggufs.write(tmp_path / "x.gguf", seed=seed).read_bytes()
        hub.add("demo/new", "x-Q4_K_M.gguf", data)
        result = call(llm, hub, "pull", "demo/new")
        assert Path(result.text.strip()).read_bytes() == data
    assert call(llm, hub, "run", "demo/new", "hello", "-n", "2").code == 0


@pytest.mark.parametrize(
    ("selector", "words"),
    [("Q4_K_M", "'martian'"), ("Q8_0", "one tensor per expert")],
)
def test_what_cannot_be_loaded_is_refused_by_its_header(
    llm: Llm, hub: Standin, selector: str, words: str
) -> None:
    for verb in (["pull"], ["run"]):
        prompt = ["hello"] if verb == ["run"] else []
        result = call(llm, hub, *verb, f"demo/bad:{selector}", *prompt, "-q")
        assert_error(result, 12, words)
    assert hub.sent() <= 2 * (6 << 20)
    assert not list(llm.cache.rglob("*.incomplete"))
    assert call(llm, hub, "pull", f"demo/bad:{selector}", "--force", "-q").code == 0


def test_what_does_not_fit_is_refused_by_its_header(llm: Llm, hub: Standin) -> None:
    result = call(llm, hub, "run", "demo/bad:F16", "hello", "-c", "134217728", "-q")
    assert_error(result, 6, "of memory with a context of 134217728 tokens", "llm pull --force")
    assert hub.sent() <= 6 << 20


def test_the_header_is_not_fetched_twice(llm: Llm, hub: Standin) -> None:
    result = call(llm, hub, "pull", "demo/bad:F16")
    assert result.code == 0
    assert hub.sent() == Path(result.text.strip()).stat().st_size


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("demo/none", 3, "does not exist, or is private"),
        ("demo/good:Q5_K_S", 3, "good-F16.gguf (0.00 GB)"),
        ("demo/good:nothing.gguf", 3, "choose one of"),
        ("xyzzy", 3, "llm models"),
        ("./nothing.gguf", 3, "no such file"),
    ],
)
def test_what_cannot_be_found(llm: Llm, hub: Standin, model: str, code: int, words: str) -> None:
    assert_error(call(llm, hub, "pull", model, "--json"), code, words, as_json=True)


def test_a_wrong_revision(llm: Llm, hub: Standin) -> None:
    assert_error(call(llm, hub, "pull", "demo/good", "--revision", "v7"), 3, "no revision 'v7'")
    assert_error(call(llm, hub, "pull", "demo/good", "--revision", "../v"), 2, "no revision")


def test_a_gated_model(llm: Llm, hub: Standin) -> None:
    hub.repos["demo/good"] = {"gated": "manual"}
    assert_error(call(llm, hub, "pull", "demo/good", "-q"), 4, "ask for access", "HF_TOKEN")


def test_a_dead_network(llm: Llm) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    assert_error(llm.run("pull", "demo/good", "-q", env=env), 8, "the same command goes on")


def test_ctrl_c(llm: Llm, hub: Standin) -> None:
    hub.faults({"match": {"kind": "cdn"}, "throttle": 2_000_000, "times": None})
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
    with llm.start("pull", "demo/bad:F16", env=env) as process:
        deadline = time.monotonic() + 30
        while not hub.requests(kind="cdn", wait=0) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert result.code == 130
    assert result.stdout == b""
    assert result.stderr.endswith("stopped; the same command goes on from here\n")


def test_a_pipe_gets_a_line_now_and_then(llm: Llm, hub: Standin) -> None:
    hub.faults({"match": {"kind": "cdn"}, "status": 429, "retry_after": 1})
    result = call(llm, hub, "pull", "demo/good")
    assert "waiting 1 s: the Hub asked us to slow down\n" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_terminal_gets_bars(llm: Llm, hub: Standin) -> None:
    hub.faults({"match": {"kind": "cdn"}, "status": 429, "retry_after": 1})
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "COLUMNS": "120"}
    with Terminal() as terminal:
        streams = {**terminal.streams, "env": env}
        with llm.start("pull", "demo/good:F16", **streams) as process:
            seen = terminal.read_until(b"-00001-of-00002.gguf\r\n").decode()
            process.wait(30)
    assert "\x1b[" in seen
    text = ESCAPE.sub("", seen)
    assert "good-F16-00001-of-00002.gguf" in text
    assert "2 files" in text
    assert "waiting 1 s: the Hub asked us to slow down" in text


def test_an_empty_list_is_wrong_usage(llm: Llm) -> None:
    assert_error(llm.run("pull"), 2)


def test_json_of_an_error(llm: Llm, hub: Standin) -> None:
    error = call(llm, hub, "pull", "demo/none", "--json").stdout
    assert json.loads(error)["error"]["code"] == "model-name"
