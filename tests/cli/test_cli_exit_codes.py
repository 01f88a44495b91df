"""Each exit code of the contract is reached by the command itself."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Llm, Result, Terminal, assert_error, finish
from standin import Standin

from lokal.engine import build

PAGE = Path(__file__).parents[2] / "docs" / "commands" / "run.md"


@pytest.fixture
def hub(llama: Path, tmp_path: Path) -> Iterator[Standin]:
    """A Hub that has one model, owner/model."""
    with Standin(tmp_path / "hub") as hub:
        hub.add("owner/model", "model-Q4_K_M.gguf", llama.read_bytes())
        yield hub


def fetch(llm: Llm, hub: Standin, *args: str, model: str = "owner/model") -> Result:
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
    return llm.run("run", model, "hello", "-n", "2", *args, env=env)


def test_0_done(llm: Llm, hub: Standin) -> None:
    """Weights are fetched, told on stderr, and the next run needs no network."""
    first = fetch(llm, hub, "--seed", "1")
    assert first.code == 0
    assert "fetching model-Q4_K_M.gguf" in first.stderr
    again = llm.run("run", "owner/model", "hello", "-n", "2", "--seed", "1", "--offline")
    assert again.code == 0
    assert again.stdout == first.stdout
    assert "fetching" not in again.stderr


def test_2_a_dry_run_fetches_nothing(llm: Llm, hub: Standin) -> None:
    """It would be a surprise to wait for gigabytes in order to see a prompt."""
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
    result = llm.run("run", "owner/model", "hello", "--dry-run", env=env)
    assert_error(result, 2, "owner/model is not on this machine", "without --dry-run")


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_a_bar_is_drawn_on_terminals_only(llm: Llm, hub: Standin, env: dict[str, str]) -> None:
    """On a terminal a transfer draws a bar, unless NO_COLOR forbids it; stdout stays as it is."""
    env |= {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
    with Terminal() as terminal:
        args = ("run", "owner/model", "hello", "-n", "1")
        with llm.start(*args, env=env, stderr=terminal.slave) as process:
            result = finish(process)
            shown = terminal.drain()
    assert result.code == 0
    assert b"\x1b" not in result.stdout
    assert b"model-Q4_K_M.gguf" in shown
    assert (b"\x1b" in shown) == ("NO_COLOR" not in env)


def test_1_a_bug_asks_to_be_reported(llm: Llm) -> None:
    """What nobody foresaw is no traceback either; --debug shows where it was."""
    sabotage = llm.home / "sabotage"
    sabotage.mkdir()
    (sabotage / "difflib.py").write_text("raise RuntimeError('out of order')")
    env = {"PYTHONPATH": f"{sabotage}{os.pathsep}{llm.environ()['PYTHONPATH']}"}
    words = "error: a bug in lokal: RuntimeError: out of order"
    result = llm.run("show", "mistra", env=env)
    assert_error(result, 1, words, "--debug")
    assert_error(llm.run("show", "mistra", "--json", env=env), 1, words, as_json=True)
    debug = llm.run("show", "mistra", "--debug", env=env)
    assert debug.code == 1
    assert "Traceback" in debug.stderr
    assert debug.stderr.endswith(result.stderr)


def test_2_usage(llm: Llm) -> None:
    """Wrong usage."""
    assert_error(llm.run("run"), 2)


@pytest.mark.parametrize("model", ["xyzzy", "owner/model:Q2_K"])
def test_3_unknown(llm: Llm, hub: Standin, model: str) -> None:
    """A name, or a quantization, that does not exist."""
    assert_error(fetch(llm, hub, model=model), 3)


def test_4_access(llm: Llm, hub: Standin) -> None:
    """Gated weights."""
    hub.repos["owner/model"] = {"gated": "manual"}
    assert_error(fetch(llm, hub, "-q"), 4)


def test_5_offline(llm: Llm, hub: Standin) -> None:
    """--offline means it, even where the network is there."""
    assert_error(fetch(llm, hub, "--offline"), 5)
    assert hub.requests() == []


def test_6_space(llm: Llm, slow: Path) -> None:
    """More memory than there is."""
    assert_error(llm.run("run", slow, "hello", "-c", "134217728"), 6)


def test_7_integrity(llm: Llm, hub: Standin) -> None:
    """What arrives is not what was announced."""
    # Far behind the header, which would be refused for what it says.
    hub.faults({"match": {"kind": "cdn"}, "corrupt_at": 200_000, "times": None})
    assert_error(fetch(llm, hub, "-q"), 7)


def test_8_network(llm: Llm) -> None:
    """A Hub that nobody answers for."""
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    assert_error(llm.run("run", "owner/model", "hello", "-q", env=env), 8)


def test_9_context(llm: Llm, llama: Path) -> None:
    """A prompt that does not fit."""
    assert_error(llm.run("run", llama, "hello", "-c", "2"), 9)


def test_10_length(llm: Llm, llama: Path) -> None:
    """An answer that was cut."""
    args = ("hello", "-n", "1", "--ignore-eos", "--fail-on-length")
    assert llm.run("run", llama, *args).code == 10


def test_12_load(llm: Llm, tmp_path: Path) -> None:
    """A file that is no model."""
    (tmp_path / "x.gguf").write_text("hello")
    assert_error(llm.run("run", tmp_path / "x.gguf", "hello"), 12)


@pytest.mark.skipif(build.supports_gpu(), reason="there may be a GPU")
def test_13_gpu(llm: Llm, hub: Standin) -> None:
    """A GPU is required, and nothing is fetched where there is none."""
    assert_error(fetch(llm, hub, "--require-gpu"), 13)
    assert not hub.requests()


def test_130_interrupted(llm: Llm, endless: Path) -> None:
    """Ctrl-C."""
    with llm.start("run", endless, "hello", "--ignore-eos") as process:
        assert process.stdout
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert finish(process).code == 130


def test_141_the_reader_went_away(llm: Llm) -> None:
    """`| true`."""
    result = llm.shell("{ sleep 0.3; llm models; echo $? >&2; } | true")
    assert result.stderr == "141\n"


def test_the_page_of_run_has_exactly_these() -> None:
    """A code that is documented is tested here, and the other way round."""
    documented = set(re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE))
    tested = {name.split("_")[1] for name in globals() if re.match(r"test_\d+_", name)}
    assert documented == tested
