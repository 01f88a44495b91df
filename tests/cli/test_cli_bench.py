"""`llm bench` as a process: what it prints where, never how fast anything is."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import Llm, Terminal, assert_error, finish
from standin import Standin

from lokal.cli.measuring import Progress

SMALL = ("-p", "16", "-n", "4", "-r", "2")


def test_a_table_and_a_plot(llm: Llm) -> None:
    """Without escape codes; standard error stays empty."""
    result = llm.run("bench", "tiny", *SMALL, "-j", "1,2")
    assert (result.code, result.stderr) == (0, "")
    model, machine, _, header, *rows, _, title, first, second = result.text.splitlines()
    assert model == "tiny, Q8_0, 2.11M parameters, 2.3 MB"
    assert "llama.cpp" in machine
    assert header.split() == ["SEQUENCES", "PROMPT/S", "RANGE", "GENERATED/S", "RANGE", "EACH/S"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert all(len(row.split()) == 6 for row in rows)
    assert title == "generated tokens/s by sequences (4 tokens each)"
    assert [line.split()[0] for line in (first, second)] == ["1", "2"]
    assert "█" in first + second
    assert b"\x1b" not in result.stdout


def test_json_has_every_sample(llm: Llm, llama: Path) -> None:
    """One value; -v tells of a load for each layout of the weights."""
    result = llm.run("bench", llama, *SMALL, "-j", "16,1", "--json", "-v", "-t", "1")
    assert result.code == 0
    loads = [line for line in result.stderr.splitlines() if line.startswith("loaded in ")]
    assert [" for 1 sequence: " in load for load in loads] == [True, False]
    assert ["weights not repacked" in load for load in loads] == [False, True]
    value = result.json
    results = value.pop("results")
    assert value.pop("weights") == f"sha256:{hashlib.sha256(llama.read_bytes()).hexdigest()}"
    assert value.pop("size") == llama.stat().st_size
    assert (value.pop("model"), value.pop("threads")) == (str(llama), 1)
    assert set(value) == {"parameters", "quantization", "device", "llama_cpp"}
    assert [each["sequences"] for each in results] == [1, 16]
    for each in results:
        assert (each["prompt_tokens"], each["generated_tokens"]) == (16, 4)
        for test in ("prompt", "generate"):
            speeds = sorted(sample[test] for sample in each["samples"])
            assert len(speeds) == 2
            assert speeds[0] > 0
            found = each[f"{test}_per_second"]
            assert (found["min"], found["max"]) == tuple(speeds)
            assert speeds[0] <= found["median"] <= speeds[1]


def test_a_test_that_is_left_out_is_null(llm: Llm) -> None:
    """And so is a plot of what was not measured."""
    (found,) = llm.run("bench", "tiny", *SMALL, "-p", "0", "-j", "2", "--json").json["results"]
    assert found["prompt_per_second"] is None
    assert [sample["prompt"] for sample in found["samples"]] == [None, None]
    assert "generated tokens/s" not in llm.run("bench", "tiny", *SMALL, "-n", "0").text


def test_two_loads_say_a_note_once_and_may_differ_in_their_device(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options: Any = SimpleNamespace(quiet=False, verbose=0)
    progress = Progress(options)
    small: Any = SimpleNamespace(device="RTX, 9 layers", notes=["no room for all"])
    large: Any = SimpleNamespace(device="CPU", notes=["no room for all", "slow"])
    progress.loaded(small, [1, 2])
    assert progress.device == "RTX, 9 layers"
    progress.loaded(large, [16])
    assert progress.device == "RTX, 9 layers for 1 and 2 sequences; CPU for 16 sequences"
    assert capsys.readouterr().err == "note: no room for all\nnote: slow\n"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["tiny", "-j", "0"], 2, "--parallel 0"),
        (["tiny", "-j", "1,two"], 2, "numbers from 1 to 224"),
        (["tiny", "-p", "0", "-n", "0"], 2, "-p and -n"),
        (["tiny", "-p", "600", "-c", "512"], 9, "600 tokens needs a context of 601"),
        (["nonesuch"], 3, "nonesuch"),
        (["owner/model"], 5, "offline"),
    ],
)
def test_what_cannot_be_measured(llm: Llm, args: list[str], code: int, words: str) -> None:
    assert_error(llm.run("bench", *args, "--offline"), code, words)


def test_ctrl_c_prints_what_was_measured(llm: Llm) -> None:
    """At once, as a whole value."""
    args = ("-p", "4", "-n", "2", "-r", "1000", "-j", "1", "-c", "512", "--json", "-v")
    with llm.start("bench", "tiny", *args) as process:
        assert process.stderr
        assert process.stderr.readline().startswith(b"loaded in ")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert (result.code, result.stderr) == (130, "")
    (found,) = result.json["results"]
    assert 0 < len(found["samples"]) < 1000


def test_progress_is_drawn_on_a_terminal_only(llm: Llm) -> None:
    """The table stays as it is."""
    with Terminal() as terminal:
        args = ("bench", "tiny", *SMALL, "-j", "1")
        with llm.start(*args, stdout=subprocess.PIPE, stderr=terminal.slave) as process:
            result = finish(process)
            shown = terminal.drain()
    assert result.code == 0
    assert b"\x1b" in shown
    assert b"\x1b" not in result.stdout


def test_weights_are_fetched(llm: Llm, llama: Path, tmp_path: Path) -> None:
    with Standin(tmp_path / "hub") as hub:
        hub.add("owner/model", "model-Q4_K_M.gguf", llama.read_bytes())
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
        result = llm.run("bench", "owner/model", *SMALL, "-j", "1", env=env)
    assert result.code == 0
    assert "fetching model-Q4_K_M.gguf" in result.stderr
    assert result.text.startswith("hf.co/owner/model, ")
