"""What else `llm run` can be told: conversations, templates, biases, several answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ggufs
import pytest
from command import Llm, Result, assert_error

GREEDY = ("--temp", "0", "-n", "12")
TALK = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]


def dry(llm: Llm, *args: Path | str, stdin: bytes = b"") -> dict[str, Any]:
    """What --dry-run shows."""
    result: dict[str, Any] = llm.run("run", *args, "--dry-run", "--json", stdin=stdin).json
    return result


def written(llm: Llm, name: str, content: Any) -> Path:
    path = llm.home / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def answers(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.json
    return found


# -- conversations


@pytest.mark.parametrize(
    ("args", "stdin", "expected"),
    [
        (["--messages", "talk.json"], b"", "three[/INST]"),
        (["--messages", "talk.json", "four"], b"", "three[/INST][INST] four[/INST]"),
        (["--messages", "talk.json"], b"five", "three[/INST][INST] five[/INST]"),
        (["--messages", "-"], json.dumps({"messages": TALK}).encode(), "three[/INST]"),
    ],
)
def test_a_conversation_comes_from_a_file(
    llm: Llm, llama: Path, args: list[str], stdin: bytes, expected: str
) -> None:
    """What is typed and piped is one more message of the user."""
    talk = written(llm, "talk.json", TALK)
    args = [str(talk) if arg == "talk.json" else arg for arg in args]
    prompt = dry(llm, llama, *args, stdin=stdin)["prompt"]
    assert prompt == f"<s>[INST] one[/INST] two</s>[INST] {expected}"


def test_the_system_message_comes_from_a_file(llm: Llm, llama: Path) -> None:
    """Or from the command line; it goes before a conversation as well."""
    system = written(llm, "system.txt", "Be brief.\n")
    wanted = "<s>[INST] Be brief.\n\nhi[/INST]"
    assert dry(llm, llama, "hi", "--system-file", system)["prompt"] == wanted
    talk = written(llm, "talk.json", TALK)
    prompt = dry(llm, llama, "--messages", talk, "-s", "Be brief.")["prompt"]
    assert prompt.startswith("<s>[INST] Be brief.\n\none[/INST] two</s>")


def test_tools_of_a_conversation_reach_the_template(llm: Llm, tmp_path: Path) -> None:
    """As they stand in the file."""
    template = (
        "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}{{ messages[-1].content }}"
    )
    path = ggufs.write(tmp_path / "tools.gguf", template=template)
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    talk = written(llm, "talk.json", {"messages": TALK, "tools": tools})
    assert dry(llm, path, "--messages", talk)["prompt"] == "<look>three"
    deaf = llm.run("run", "tiny", "--messages", talk, "-n", "3")
    assert deaf.code == 0
    assert "shows the tools" in deaf.stderr


# -- templates


def test_a_template_of_one_s_own(llm: Llm, llama: Path, tmp_path: Path) -> None:
    """In place of the file's, or where it has none; with variables."""
    template = written(llm, "t.jinja", "<{{ mood }}>{{ messages[0].content }}\n")
    args = ("hi", "--template", template, "--template-kwargs", '{"mood": "calm"}')
    assert dry(llm, llama, *args)["prompt"] == "<calm>hi"
    bare = ggufs.write(tmp_path / "bare.gguf", template=None)
    assert dry(llm, bare, *args)["prompt"] == "<calm>hi"
    done = llm.run("run", bare, "hi", *GREEDY)
    assert "has no chat template" in done.stderr
    assert "--chat-template" in done.stderr


def test_a_template_of_one_s_own_for_a_batch(llm: Llm, llama: Path) -> None:
    """Where --template says how a row becomes a prompt."""
    template = written(llm, "t.jinja", "{{ messages[0].content }}!")
    rows = b'{"w": "hello"}\n'
    args = ("--template", "{w}", "--chat-template", template, *GREEDY)
    done = llm.run("batch", llama, *args, stdin=rows)
    alone = llm.run("run", llama, "hello!", "--raw", "--json", *GREEDY)
    assert done.json["text"] == alone.json["text"]


def test_a_broken_template_is_told_before_the_first_row(llm: Llm) -> None:
    """Not once for each of a million."""
    template = written(llm, "t.jinja", "{{")
    done = llm.run("batch", "tiny", "--chat-template", template, stdin=b"one\ntwo\n")
    assert_error(done, 12, "the chat template is broken")
    assert not done.stdout


# -- sampling


def test_a_token_is_named_by_its_text(llm: Llm, llama: Path) -> None:
    """And forbidden, or wanted above all others."""
    wanted = llm.run("run", llama, "hi", "--logit-bias", " hello:1000", *GREEDY)
    assert wanted.text.split() == ["hello"] * 12
    forbidden = llm.run(
        "run", llama, "hi", "--logit-bias", " hello:1000", "--logit-bias", " hello:-inf", *GREEDY
    )
    assert_error(forbidden, 2, "two logit biases")
    shown = dry(llm, llama, "hi", "--logit-bias", "300:-inf")
    assert shown["logit_bias"] == {"300": "-inf"}


def test_log_probabilities_are_part_of_the_json(llm: Llm, llama: Path) -> None:
    """Of each token and of the likeliest at its place."""
    done = llm.run("run", llama, "hi", "--logprobs", "3", "--json", "--ignore-eos", *GREEDY).json
    assert len(done["logprobs"]) == done["usage"]["completion_tokens"] == 12
    for entry in done["logprobs"]:
        assert entry["logprob"] == pytest.approx(entry["top_logprobs"][0]["logprob"])
        assert sum(math.exp(top["logprob"]) for top in entry["top_logprobs"]) < 1 + 1e-6
        assert len(entry["top_logprobs"]) == 3
    rows = llm.run("batch", llama, "--logprobs", "0", *GREEDY, stdin=b"hi\n").json
    assert [entry["top_logprobs"] for entry in rows["logprobs"]] == [[]] * len(rows["logprobs"])
    assert "logprobs" not in llm.run("run", llama, "hi", "--json", *GREEDY).json


def test_several_answers_are_what_their_seeds_alone_write(llm: Llm) -> None:
    """The prompt is computed once; the seeds follow one another."""
    prompt = "Tell me a story about a fox who found a key"
    asked = ("run", "tiny", prompt, "-n", "40")
    done = answers(llm.run(*asked, "--n", "4", "--seed", "10", "--json"))
    assert [answer["seed"] for answer in done] == [10, 11, 12, 13]
    alone = [llm.run(*asked, "--seed", str(seed)).text for seed in range(10, 14)]
    assert [answer["text"].rstrip("\n") + "\n" for answer in done] == alone
    n_prompt = done[0]["usage"]["prompt_tokens"]
    assert [answer["usage"]["cached_tokens"] for answer in done] == [0, *[n_prompt] * 3]
    text = llm.run(*asked, "--n", "4", "--seed", "10")
    assert text.text == "".join(alone)


def test_several_answers_are_written_byte_for_byte(llm: Llm, llama: Path) -> None:
    """Models write bytes, not text."""
    asked = ("run", llama, "hello", "--temp", "0", "--ignore-eos", "-n", "60")
    alone = llm.run(*asked).stdout
    with pytest.raises(UnicodeDecodeError):
        alone.decode()
    assert llm.run(*asked, "--n", "2").stdout == 2 * alone


def test_several_answers_of_a_form(llm: Llm) -> None:
    """One a line, for other programs to count."""
    done = llm.run("run", "tiny", "Is the sky blue?", "--regex", "yes|no", "--n", "6")
    assert done.code == 0
    assert len(done.text.splitlines()) == 6
    assert {*done.text.splitlines()} <= {"yes", "no"}


def test_several_answers_of_which_some_fail(llm: Llm) -> None:
    """All are in the JSON, and the exit code tells of it."""
    done = llm.run("run", "tiny", "hi", "--regex", "[a-z]{40}", "--n", "2", "-n", "3", "--json")
    assert done.code == 10
    assert [answer["error"]["code"] for answer in answers(done)] == ["incomplete"] * 2
    assert "hint:" in done.stderr


# -- misuse


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["hi", "--logprobs", "2"], "--json"),
        (["hi", "--logprobs", "101"], "logprobs is 101"),
        (["hi", "--logit-bias", "x"], "TOKEN:BIAS"),
        (["hi", "--logit-bias", "the cat sat:1"], "one token"),
        (["hi", "--logit-bias", "99999999:1"], "99999999"),
        (["hi", "--n", "0"], "--n"),
        (["hi", "--seed", "4294967294", "--n", "2"], "seed is 4294967295"),
        (["hi", "--raw", "--think"], "both --raw and --think"),
        (["hi", "--raw", "--template-kwargs", "{}"], "both --raw"),
        (["hi", "--template-kwargs", "[1]"], "no JSON object"),
        (["hi", "--template-kwargs", "{"], "no JSON"),
        (["hi", "--template-kwargs", '{"messages": []}'], "'messages'"),
        (["hi", "--template", "none.jinja"], "none.jinja"),
        (["hi", "--think"], "no reasoning to switch on"),
        (["hi", "--reasoning-budget", "5"], "reasoning"),
        (["hi", "--template-kwargs", '{"template": 1}'], "'template'"),
        (["hi", "--reasoning-budget", "-1"], "reasoning_budget is -1"),
        (["hi", "-s", "a", "--system-file", "b"], "both --system and --system-file"),
        (["hi", "--system-file", "none.txt"], "none.txt"),
        (["--messages", "none.json"], "none.json"),
        (["--messages", "-"], "standard input"),
        (["hi", "--lora", "none.gguf"], "none.gguf"),
        (["hi", "--lora", "a.gguf:1e9"], "scale"),
    ],
)
def test_a_misuse_is_one_line_and_a_hint(llm: Llm, args: list[str], said: str) -> None:
    """Nothing is written to standard output."""
    done = llm.run("run", "tiny", *args, cwd=llm.home)
    assert_error(done, 2, said)
    assert not done.stdout
