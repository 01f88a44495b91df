"""Reasoning at the command line: for people to see, for programs to find, never in the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import Llm, Terminal
from test_model_reasoning import saying


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thinks "was the", and answers "you are"."""
    return saying(tmp_path_factory.mktemp("thinker") / "m.gguf")


def shown(llm: Llm, *args: str | Path, **streams: Any) -> tuple[bytes, bytes]:
    """Standard output, which is a pipe, and standard error, which is a terminal."""
    with Terminal() as terminal, llm.start(*args, stderr=terminal.slave, **streams) as process:
        stdout, _ = process.communicate(timeout=60)
        return stdout, terminal.drain()


@pytest.mark.parametrize("verb", ["run", "chat"])
def test_people_see_it_dim(llm: Llm, thinker: Path, verb: str) -> None:
    """Before the answer, on standard error, and nothing stays dim."""
    typed = llm.home / "typed.txt"
    typed.write_text("hi\n")
    with typed.open("rb") as stdin:
        stdout, stderr = shown(llm, verb, thinker, "--temp", "0", stdin=stdin)
    assert stdout == b"you are\n"
    assert b"\x1b[2m" in stderr
    assert stderr.replace(b"\x1b[2m", b"").replace(b"\x1b[0m", b"") == b"was the\n\n"
    assert stderr.rindex(b"\x1b[0m") > stderr.rindex(b"\x1b[2m")


def test_nobody_sees_it_who_does_not_want_to(llm: Llm, thinker: Path) -> None:
    """Nor escape codes; and where there is no terminal it is in the JSON only."""
    asked = ("run", thinker, "hi", "--temp", "0")
    assert shown(llm, *asked, "-q") == (b"you are\n", b"")
    assert shown(llm, *asked, env={"NO_COLOR": "1"}) == (b"you are\n", b"was the\n\n")
    done = llm.run(*asked)
    assert (done.stdout, done.stderr) == (b"you are\n", "")
    value = llm.run(*asked, "--json").json
    assert (value["reasoning"], value["text"]) == ("was the", "you are")
    row = llm.run("batch", thinker, "--temp", "0", stdin=b"hi\n").json
    assert (row["reasoning"], row["text"]) == ("was the", "you are")


def test_it_is_switched_off_or_cut(llm: Llm, thinker: Path) -> None:
    """By the template, or by a budget."""
    asked = ("run", thinker, "hi", "--temp", "0", "--json")
    assert "<think>" not in llm.run(*asked, "--think", "--dry-run").json["prompt"]
    assert llm.run(*asked, "--no-think", "--dry-run").json["prompt"].endswith("</think>\n\n")
    cut = llm.run(*asked, "--reasoning-budget", "1").json
    assert cut["reasoning"] == "was"
    unfinished = llm.run(*asked, "-n", "2").json
    assert (unfinished["text"], unfinished["finish_reason"]) == ("", "length")
    assert unfinished["reasoning"] == "was"
