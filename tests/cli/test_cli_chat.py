"""`llm chat` without a terminal: for scripts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from itertools import pairwise
from pathlib import Path

import ggufs
import pytest
from command import Llm, assert_error, finish


def test_each_line_is_a_turn(llm: Llm) -> None:
    """Answers one after another, each with its newline, and nothing else."""
    talk = b"Hello\n\n/save talk.json\r\nWhat is the capital of Norway?"
    result = llm.run("chat", "tiny", "--temp", "0", stdin=talk, cwd=llm.home)
    assert result.code == 0
    assert result.stderr == "saved 2 messages to talk.json\n"
    messages = json.loads((llm.home / "talk.json").read_text())["messages"]
    answers = result.text.splitlines()
    assert answers[0] == messages[1]["content"]
    assert len(answers) == 2
    assert "Oslo" in answers[1]
    assert result.stdout.endswith(b"\n")
    assert not result.stdout.endswith(b"\n\n")
    assert not (llm.home / "state").exists()


def test_the_same_seed_gives_the_same_conversation(llm: Llm) -> None:
    """Regenerated answers included, which differ from each other."""
    talk = b"Tell me a story\n/regen\nTell me another one\n"
    one, same, other = (
        llm.run("chat", "tiny", "--seed", seed, "-n", "25", stdin=talk).text for seed in "778"
    )
    assert one == same != other


def test_a_turn_in_triple_quotes(llm: Llm) -> None:
    """Several lines; so at the end of the input, where they are not closed."""
    talk = b'"""one\ntwo\n"""\n/save a.json\n"""three\nfour'
    result = llm.run("chat", "tiny", "-n", "3", "-q", stdin=talk, cwd=llm.home)
    assert result.code == 0
    assert json.loads((llm.home / "a.json").read_text())["messages"][0]["content"] == "one\ntwo"
    assert len(result.text.splitlines()) == 2


def test_a_turn_that_fails(llm: Llm) -> None:
    """Told, left out, and in the exit code; the others are answered."""
    talk = b"Hello\n/set temp hot\n" + b"word " * 2000 + b"\n/nonsense\nHello again\n"
    result = llm.run("chat", "tiny", "-n", "5", "-q", stdin=talk)
    lines = result.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["error:", "hint:"] * 3
    assert "1024" in lines[2]
    assert result.code == 2
    assert len(result.text.splitlines()) == 2


def test_a_turn_that_is_no_text_is_left_out(llm: Llm) -> None:
    """Whole, if it stands between quotes; those after it are answered."""
    talk = b'Hello\n\xff\n"""one\n\xff\n/nonsense\n"""\nHello again\n'
    result = llm.run("chat", "tiny", "-n", "5", "-q", stdin=talk)
    assert result.stderr.count("error: a turn of standard input is not valid UTF-8") == 2
    assert "nonsense" not in result.stderr
    assert (result.code, len(result.text.splitlines())) == (2, 2)


def test_a_turn_of_very_many_lines(llm: Llm) -> None:
    """Is read as fast as one long line; then it is too long for the context."""
    talk = b'"""\n' + b"word\n" * 200_000 + b'"""\n'
    result = llm.run("chat", "tiny", "-n", "5", "-q", stdin=talk)
    assert result.code == 9


@pytest.mark.parametrize("lines", ["yes | tr -d '\\n'", 'echo \'"""\'; yes ' + "b" * 999])
def test_a_turn_without_an_end(llm: Llm, lines: str) -> None:
    """Is given up, and so is all that would come after it."""
    result = llm.shell(f"({lines}) | head -c 100000000 | llm chat tiny")
    assert (result.code, result.stdout) == (2, b"")
    assert "more than 64 MiB" in result.stderr


def test_what_a_model_cannot_do_is_refused_before_the_first_turn(llm: Llm) -> None:
    """Not at each turn."""
    for option in ("--think", "--reasoning-budget=3", "--logit-bias=a fox and more:1"):
        result = llm.run("chat", "tiny", option, stdin=b"hello\nhello\n")
        assert_error(result, 2, option.split("=")[0].replace("--logit-bias", "token"))


def test_a_model_that_is_gone(llm: Llm, llama: Path) -> None:
    """When another does not load and the old one neither, that is the end."""
    mine = llm.home / "mine.gguf"
    mine.write_bytes(llama.read_bytes())
    matrices = ggufs.adapter_matrices(["blk.0.attn_q.weight"])
    adapter = ggufs.write_adapter(llm.home / "adapter.gguf", matrices)
    args = ("chat", mine, "--lora", adapter, "-n", "3")
    with llm.start(*args, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        process.stdout.readline()
        mine.unlink()
        process.stdin.write(b"/model tiny\nhello\n")
        result = finish(process)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "adapter.gguf" in errors[0]
    assert str(mine) in errors[1]
    assert result.code == 12
    assert result.stdout == b""


@pytest.mark.parametrize("shift", [True, False])
def test_a_conversation_longer_than_the_context(llm: Llm, shift: bool) -> None:
    """Goes on, says what it dropped, and evaluates only what is new; or is refused."""
    option = "--shift" if shift else "--no-shift"
    talk = b"Tell me a story about a fox\n" * 20
    result = llm.run("chat", "tiny", "-n", "40", "-c", "512", "--ignore-eos", option, stdin=talk)
    if shift:
        assert result.code == 0
        assert "note: the context of 512 tokens is full; dropped the oldest" in result.stderr
        assert result.stderr.count("is full") < 5
    else:
        assert result.code == 9
        assert "error: the conversation has " in result.stderr
        assert "/clear" in result.stderr


def test_a_turn_costs_its_own_tokens_only(llm: Llm) -> None:
    """Twenty turns; what was read and written before is in the cache."""
    talk = b"What is the capital of Norway?\n" * 20
    result = llm.run("chat", "tiny", "-n", "20", "-v", stdin=talk)
    counts = re.findall(r"^prompt (\d+) tokens, (\d+) cached", result.stderr, re.MULTILINE)
    assert len(counts) == 20
    assert all(int(evaluated) < 20 for evaluated, _ in counts)
    assert int(counts[-1][1]) > 200


def test_an_answer_that_ends_with_the_context(llm: Llm) -> None:
    """Says so; the next turn has room again."""
    talk = b"Tell me a story about a fox\nHello\n"
    result = llm.run("chat", "tiny", "-c", "256", "--ignore-eos", stdin=talk)
    assert "stopped at the end of the context (256 tokens)" in result.stderr
    assert "dropped the oldest turn\n" in result.stderr
    assert result.code == 0


def test_continue_in_a_script(llm: Llm) -> None:
    """Begins with nothing to continue as an error; then goes on and on."""
    assert_error(llm.run("chat", "tiny", "--continue", stdin=b"hi\n"), 2, "to continue")
    state = llm.home / "state"
    state.mkdir(exist_ok=True)
    (state / "conversation.json").write_text('[{"role": "user", "content": "one"}]')
    for n in range(3):
        result = llm.run("chat", "tiny", "-n", "3", "--continue", stdin=f"more {n}\n".encode())
        assert result.code == 0
        assert "going on with the last conversation" in result.stderr
    kept = json.loads((state / "conversation.json").read_text())
    assert kept["model"] == "tiny"
    assert [m["content"] for m in kept["messages"] if m["role"] == "user"] == [
        *("one", "more 0", "more 1", "more 2")
    ]


def test_markdown_needs_a_terminal(llm: Llm) -> None:
    """A note, and no escape codes."""
    result = llm.run("chat", "tiny", "--markdown", stdin=b"Hello\n")
    assert "note: --markdown" in result.stderr
    assert b"\x1b" not in result.stdout
    assert result.code == 0


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["tiny", "--temp", "1000"], 2, "temperature"),
        (["tiny", "--seed", "-1"], 2, "seed"),
        (["tiny", "-c", "1"], 2, "context"),
        (["tiny", "--gpu-layers", "x"], 2, "gpu-layers"),
        (["tiny", "hello"], 2, "hello"),
        (["nobody-has-this"], 3, "nobody-has-this"),
    ],
)
def test_wrong_usage(llm: Llm, args: list[str], code: int, words: str) -> None:
    """Before anything is read."""
    assert_error(llm.run("chat", *args, stdin=b"hi\n"), code, words)


def test_input_that_is_no_text(llm: Llm) -> None:
    """Told like any other error."""
    assert_error(llm.run("chat", "tiny", stdin=b"\xff\n"), 2, "UTF-8")


def test_without_a_template_messages_are_joined(llm: Llm, grok: Path) -> None:
    """And that is said."""
    result = llm.run("chat", grok, "-n", "2", stdin=b"hello\nyou\n")
    assert "has no chat template" in result.stderr
    assert result.code == 0


def test_system_texts_are_not_lost(llm: Llm, tmp_path: Path) -> None:
    """Even where the template refuses them."""
    path = ggufs.write(tmp_path / "raising.gguf", template=ggufs.RAISING_TEMPLATE)
    result = llm.run("chat", path, "-n", "2", "-s", "Be brief.", stdin=b"hello\nyou\n/tokens\n")
    assert result.code == 0
    assert "system     Be brief." in result.stderr


def test_ctrl_c_ends_a_script(llm: Llm, endless: Path) -> None:
    """As with any other verb; what was written stays."""
    args = ("chat", endless, "--ignore-eos", "--temp", "0")
    with llm.start(*args, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        process.stdout.read(40)
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert result.code == 130
    assert result.stdout.endswith(b"\n")
    assert result.stderr == ""


def test_a_reader_that_leaves(llm: Llm, endless: Path) -> None:
    """Ends it quietly."""
    script = 'yes hello | llm chat "$1" --ignore-eos -q -n 50 | head -c 20 >/dev/null; '
    result = llm.shell(script + "exit ${PIPESTATUS[1]}", endless)
    assert (result.code, result.stderr) == (141, "")


@pytest.mark.parametrize("mark", ["[/INST]", "say"])
def test_the_space_that_an_answer_begins_with_costs_no_turn(llm: Llm, mark: str) -> None:
    """After a control token a vocabulary puts it in front again, after a word it does not."""
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }} " + mark + "{% else %}"
        "{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    tokens = [token for token, _ in ggufs._spm()]
    said = ["[/INST]" if mark == "[/INST]" else "▁say", "▁you", "▁are", "▁little", "</s>"]
    path = ggufs.write(llm.home / "m.gguf", type="F32", template=template)
    ggufs.teach(path, {tokens.index(a): tokens.index(b) for a, b in pairwise(said)})
    done = llm.run("chat", path, "--temp", "0", "-v", stdin=b"hello\nhello\nhello\n")
    assert done.text == "you are little\n" * 3
    turns = re.findall(r"prompt (\d+) tokens, (\d+) cached", done.stderr)
    n_own = int(turns[0][0])
    assert [int(own) for own, _ in turns[1:]] == [n_own] * 2, done.stderr
