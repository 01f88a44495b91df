"""Reasoning models, through the Python API and the command: real files that say what they must."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ggufs
import pytest
from command import Llm

import lokal
from lokal.engine.constraint import Grammar
from lokal.engine.request import FinishReason
from lokal.errors import IncompleteError, UsageError

USER_DEFINED, CONTROL = 4, 3
TEMPLATE = "{{ messages[0].content }}[/INST]"
MENTIONED = TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}"
MENTIONED += "<think>\n\n</think>\n\n{% endif %}"
SAID = ["[/INST]", "<think>", "▁was", "▁the", "</think>", "▁you", "▁are", "</s>"]
GREEDY: dict[str, Any] = {"temperature": 0}


def saying(
    path: Path,
    said: Sequence[str] = SAID,
    template: str | None = MENTIONED,
    kind: int = USER_DEFINED,
    marks: Sequence[str] = ("<think>", "</think>"),
) -> Path:
    """A model that says these tokens one after another, some of which are new to its vocabulary."""
    tokens, kinds = map(list, zip(*ggufs._spm(), strict=True))
    for mark, word in zip(marks, ggufs._WORDS[3:], strict=False):
        kinds[tokens.index("▁" + word)] = kind
        tokens[tokens.index("▁" + word)] = mark
    metadata = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    ggufs.write(path, type="F32", template=template, metadata=metadata)
    return ggufs.teach(path, {tokens.index(a): tokens.index(b) for a, b in pairwise(said)})


@pytest.mark.parametrize("kind", [USER_DEFINED, CONTROL])
def test_reasoning_is_told_from_the_answer(tmp_path: Path, kind: int) -> None:
    """Marks may be control tokens, which write nothing; a raw completion is all text."""
    with lokal.load(saying(tmp_path / "m.gguf", kind=kind), ctx=64, threads=1) as model:
        done = model.generate("hi", **GREEDY)
        assert (done.reasoning, done.text) == ("was the", "you are")
        assert (done.finish_reason, done.usage.completion_tokens) == (FinishReason.STOP, 7)
        assert "".join(model.stream("hi", **GREEDY)) == "you are"
        assert [d.reasoning for d in model.batch(["hi", "ho"], **GREEDY)] == ["was the"] * 2
        cut = model.generate("hi", max_tokens=2, **GREEDY)
        assert (cut.reasoning, cut.text, cut.finish_reason) == ("was", "", FinishReason.LENGTH)
        raw = model.generate("[/INST]", raw=True, **GREEDY)
        marked = kind == USER_DEFINED
        text = "<think> was the</think> you are" if marked else " was the you are"
        assert (raw.reasoning, raw.text) == (None, text)
        stopped = model.generate("hi", stop=("the", "ar"), **GREEDY)
        assert (stopped.reasoning, stopped.text) == ("was the", "you ")


def test_a_text_is_no_mark_where_the_mark_is_a_control_token(tmp_path: Path) -> None:
    """A model may quote what marks its reasoning; where the mark is text too, a quote is one."""
    said = [*SAID[:3], *"</think>", *SAID[4:]]
    control = saying(tmp_path / "control.gguf", said, kind=CONTROL)
    with lokal.load(control, ctx=64, threads=1) as model:
        done = model.generate("hi", **GREEDY)
        assert (done.reasoning, done.text) == ("was</think>", "you are")
    text = saying(tmp_path / "text.gguf", said, kind=USER_DEFINED)
    with lokal.load(text, ctx=64, threads=1) as model:
        done = model.generate("hi", **GREEDY)
        assert (done.reasoning, done.text) == ("was", "</think> you are")


def test_reasoning_that_the_prompt_opens(tmp_path: Path) -> None:
    """Or closes: then there is none."""
    said = ["<think>", *SAID[2:]]
    path = saying(tmp_path / "open.gguf", said, TEMPLATE + "<think>")
    with lokal.load(path, ctx=64, threads=1) as model:
        done = model.generate("hi", **GREEDY)
        assert (done.reasoning, done.text) == ("was the", "you are")
        at_once = model.generate("hi", reasoning_budget=0, **GREEDY)
        assert (at_once.reasoning, at_once.text) == (None, "you are")
        assert at_once.usage.completion_tokens == 1 + 3
    path = saying(tmp_path / "closed.gguf", SAID, TEMPLATE + "<think></think>")
    with lokal.load(path, ctx=64, threads=1) as model:
        done = model.generate("hi", **GREEDY)
        assert (done.reasoning, done.text) == (None, "you are")


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_budget_closes_it(tmp_path: Path, parallel: int) -> None:
    """What closes it counts, and the answer follows from it."""
    path = saying(tmp_path / "m.gguf")
    with lokal.load(path, ctx=64, threads=1, parallel=parallel) as model:
        expected = [(None, 5), ("was", 6), ("was the", 7), ("was the", 7)]
        for budget, (reasoning, n_tokens) in enumerate(expected):
            done = model.generate("hi", reasoning_budget=budget, **GREEDY)
            assert (done.reasoning, done.text) == (reasoning, "you are")
            assert done.usage.completion_tokens == n_tokens
            form = Grammar("regex", " you")
            done = model.generate("hi", grammar=form, reasoning_budget=budget, **GREEDY)
            assert (done.reasoning, done.text) == (reasoning, " you")
    with (
        lokal.load(ggufs.write(tmp_path / "none.gguf"), ctx=64, threads=1) as model,
        pytest.raises(UsageError, match="budget for reasoning") as caught,
    ):
        model.generate("hi", reasoning_budget=0)
    assert "reasoning_budget" in caught.value.hint


def test_only_the_answer_is_constrained(tmp_path: Path) -> None:
    """And unclosed reasoning is none."""
    with lokal.load(saying(tmp_path / "m.gguf"), ctx=64, threads=1) as model:
        done = model.generate("hi", grammar=Grammar("regex", " are| is"), **GREEDY)
        assert (done.reasoning, done.text) == ("was the", " are")
        with pytest.raises(IncompleteError, match="the reasoning was cut"):
            model.generate("hi", grammar=Grammar("regex", "x"), max_tokens=3, **GREEDY)


def test_channels(tmp_path: Path) -> None:
    """Headers are no text, and no form is asked of them; closing an analysis opens an answer."""
    marks = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"]
    marks += ["final", "assistant"]
    end = ["<|message|>", "▁you", "▁are", "<|return|>"]
    template = "<|start|>user<|message|>{{ messages[0].content }}<|end|><|start|>assistant"
    path = saying(
        tmp_path / "final.gguf",
        ["assistant", "<|channel|>", "final", *end],
        template + "{% if false %}<|channel|>{% endif %}",
        marks=marks,
    )
    with lokal.load(path, ctx=64, threads=1) as model:
        done = model.generate("hi", **GREEDY)
        assert (done.reasoning, done.text) == (None, "you are")
        assert done.finish_reason is FinishReason.STOP
        form = Grammar("regex", " you(r)?")
        assert model.generate("hi", grammar=form, **GREEDY).text == " you"
    path = saying(
        tmp_path / "analysis.gguf",
        ["▁is", "▁to", "▁of", *end],
        template + "<|channel|>analysis<|message|>so it is",
        marks=marks,
    )
    with lokal.load(path, ctx=64, threads=1) as model:
        done = model.generate("hi", reasoning_budget=2, **GREEDY)
        assert (done.reasoning, done.text) == (" to of", "you are")
    # An analysis that quotes a mark.
    path = saying(
        tmp_path / "quote.gguf",
        ["▁is", *"<|end", "<0x7C>", ">", "<|end|>", "<|start|>", "assistant", "<|channel|>"],
        template + "<|channel|>analysis<|message|>so it is",
        marks=marks,
    )
    with lokal.load(path, ctx=64, threads=1) as model:
        done = model.generate("hi", max_tokens=10, **GREEDY)
        assert (done.reasoning, done.text) == ("<|end|>", "")


def test_the_command_shows_reasoning_in_json_only(tmp_path: Path) -> None:
    llm, path = Llm(tmp_path), saying(tmp_path / "m.gguf")
    options = ("-c", "64", "-t", "1", "--temp", "0")
    assert llm.run("run", path, "hi", *options).text == "you are\n"
    value = llm.run("run", path, "hi", *options, "--json").json
    assert (value["reasoning"], value["text"]) == ("was the", "you are")
