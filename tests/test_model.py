"""The public Python API: lokal.load and what a model does."""

from __future__ import annotations

import contextlib
import gc
import itertools
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import ggufs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lokal
from lokal.catalog.entry import Entry, License, Origin, Sampling
from lokal.conversation import conversation
from lokal.engine.request import FinishReason, SamplingParams
from lokal.errors import ContextError, LoadError, ModelNameError, UsageError
from lokal.gguf import check
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.weights import Weights

FIXED: dict[str, Any] = {"seed": 7, "max_tokens": 10, "ignore_eos": True}
BAD_SAMPLING = {"general.sampling.top_p": 7.5, "general.sampling.temp": 0.25}


@pytest.fixture
def model(llama: Path) -> Iterator[Model]:
    with lokal.load(str(llama), ctx=512, threads=1) as model:
        yield model


def entry(**fields: Any) -> Entry:
    return Entry(
        ref="x",
        title="X",
        license=License(id="MIT", name="MIT", url="", open_source=True),
        origin=Origin(name="we"),
        confidence="seen",
        embedded="x.gguf",
        **fields,
    )


def loaded(path: Path, entry: Entry | None = None) -> Model:
    return Model(Weights("x", path, check(path), entry), LoadOptions(ctx=512, threads=1))


def test_generate_is_the_join_of_stream(model: Model) -> None:
    """And the same call gives the same text again."""
    pieces = list(model.stream("hello", **FIXED))
    done = model.generate("hello", **FIXED)
    assert "".join(pieces) == done.text
    assert len(pieces) > 1
    assert (done.finish_reason, done.usage.completion_tokens) == (FinishReason.LENGTH, 10)
    assert done.seed == 7
    assert done.timings.prompt > 0 < done.timings.generate
    assert model.generate("hello", **FIXED).text == done.text


def test_a_seed_is_drawn_where_none_is_given(model: Model) -> None:
    """And told, so that the answer can be had again."""
    hot = {"temperature": 5.0, "top_k": 0, "max_tokens": 10, "ignore_eos": True}
    first, second = (model.generate("hello", **hot) for _ in range(2))
    assert first.seed != second.seed
    assert first.text != second.text
    assert model.generate("hello", seed=first.seed, **hot).text == first.text


def test_text_is_printable(model: Model) -> None:
    """Bytes that are no UTF-8 do not leave the API as surrogates, which nobody can print."""
    for seed in range(5):
        text = model.generate("hello", temperature=5, top_k=0, max_tokens=30, seed=seed).text
        assert text.encode()
        assert "".join(model.stream("hello", temperature=5, top_k=0, max_tokens=30, seed=seed)) == (
            text
        )


def test_a_chat_answer_loses_its_first_space_and_a_raw_one_keeps_it(
    model: Model, grok: Path
) -> None:
    """SentencePiece words begin with a space, which is part of the text only when continuing."""
    raw, chat = set(), set()
    for seed in range(40):
        few = {"seed": seed, "temperature": 2.0, "top_k": 0, "max_tokens": 2, "ignore_eos": True}
        raw.add(model.generate("hello", raw=True, **few).text[:1])
        chat.add(model.generate("hello", **few).text[:1])
    assert " " in raw
    assert " " not in chat
    with lokal.load(str(grok), ctx=512, threads=1) as base:  # it has no template: raw as well
        assert base.weights.template is None
        first = base.generate("hello", **FIXED).text
        assert first == base.generate("hello", raw=True, **FIXED).text


def test_a_system_text_and_a_conversation_reach_the_model(model: Model) -> None:
    """Every message counts as tokens of the prompt."""
    one = model.generate("hello", **FIXED)
    with_system = model.generate("hello", system="say it", **FIXED)
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "you"},
        {"role": "user", "content": "world"},
    ]
    several = model.generate(turns, **FIXED)
    counts = [done.usage.prompt_tokens for done in (one, with_system, several)]
    assert counts[0] < min(counts[1:])
    assert len({one.text, with_system.text, several.text}) == 3


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([], "without messages"),
        ([{"role": "user"}], "message 1 has no content"),
        ([{"content": "x"}], "message 1 has no role"),
        ([{"role": "user", "content": "x"}, {"role": "user", "content": None}], "message 2"),
        (["hello"], "message 1"),
        ([{"role": "user", "content": 7}], "message 1 is no text"),
        ([{"role": "critic", "content": "x"}], "message 1 has the role 'critic'"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "part of type 'image_url'"),
        ([{"role": "user", "content": [{"type": "text"}]}], "part of type 'text'"),
        ([{"role": "assistant", "content": None}], "message 1 has no content"),
        ([{"role": "user", "content": "x", "tool_calls": []}], "tool_calls, and the role user"),
        ([{"role": "assistant", "content": "x", "tool_calls": [{"name": "f"}]}], "are no calls"),
    ],
)
def test_odd_conversations_are_refused_in_words(messages: list[Any], what: str) -> None:
    """Rows of a batch and callers of the API may hold anything."""
    with pytest.raises(UsageError, match=what):
        conversation(messages)


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 2},
        {"repeat_penalty": 0},
        {"max_tokens": 0},
        {"stop": ("",)},
        {"stop": "END"},
        {"seed": -1},
        {"seed": 2**32 - 1},
    ],
)
def test_values_out_of_range_are_refused(model: Model, bad: dict[str, Any]) -> None:
    """Before anything is computed; the model stays usable."""
    with pytest.raises(UsageError):
        model.generate("hello", **bad)
    assert model.generate("hello", **FIXED).text


@pytest.mark.parametrize(
    "bad",
    [
        {"top_k": 4.5},
        {"max_tokens": 2.5},
        {"seed": 1.5},
        {"temperature": "hot"},
        {"temperature": True},
        {"stop": (1,)},
        {"stop": "END"},
        {"ignore_eos": "no"},
    ],
)
def test_wrong_types_are_refused(model: Model, bad: dict[str, Any]) -> None:
    """A mistake in a program is told in words, and the model answers the next call."""
    with pytest.raises(UsageError):
        model.generate("hello", **bad)
    assert model.generate("hello", **FIXED).text


def test_a_huge_prompt_is_refused_with_both_numbers(model: Model) -> None:
    """And nothing of it stays behind."""
    with pytest.raises(ContextError, match=r"has 16\d{4} tokens, the context holds 512"):
        model.generate("hello world " * 80_000)
    assert model.generate("hello", **FIXED).text


def test_the_context_is_what_was_asked_for(llama: Path) -> None:
    """Down to two tokens, and multiple of 256 or not."""
    with lokal.load(str(llama), ctx=2, threads=1) as model:
        done = model.generate("", raw=True, seed=1, ignore_eos=True)
        assert (done.usage, done.finish_reason) == ((1, 2, 0), FinishReason.LENGTH)
        with pytest.raises(ContextError, match="holds 2"):
            model.generate("hello")
    with lokal.load(str(llama), threads=1) as model:
        assert model.context.n_ctx == 4096


def test_two_streams_at_once_each_get_their_own_text(model: Model) -> None:
    """In turns, because there is one sequence to compute."""
    alone = [model.generate(prompt, **FIXED).text for prompt in ("hello", "world")]
    streams = [model.stream(prompt, **FIXED) for prompt in ("hello", "world")]
    texts = ["", ""]
    for pieces in itertools.zip_longest(*streams, fillvalue=""):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    assert texts == alone


def test_an_answer_left_half_way_ends(model: Model) -> None:
    """The next call does not wait for what nobody reads."""
    for _ in model.stream("hello", seed=1, ignore_eos=True):
        break
    gc.collect()
    assert not model._engine.scheduler.has_work
    assert model.generate("hello", **FIXED).text


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 600))
def test_ctrl_c_at_any_line_leaves_the_model_usable(llama: Path, line: int) -> None:
    """Python raises between any two lines of our own code, unless it is told to wait."""
    countdown = itertools.count(line, -1)

    def trace(frame: FrameType, event: str, _arg: object) -> object:
        if "engine" not in frame.f_code.co_filename:
            return None
        if event == "line" and next(countdown) == 0:
            signal.raise_signal(signal.SIGINT)
        return trace

    with lokal.load(str(llama), ctx=64, threads=1) as model:
        expected = model.generate("hello", **FIXED).text
        before = sys.gettrace()
        with contextlib.suppress(KeyboardInterrupt):
            sys.settrace(trace)
            model.generate("hello", **FIXED)
        sys.settrace(before)
        assert model.generate("hello", **FIXED).text == expected


def test_a_closed_model_says_so(llama: Path) -> None:
    """Native code would read freed memory."""
    with lokal.load(str(llama), ctx=512, threads=1) as model:
        stream = model.stream("hello", **FIXED)
        next(stream)
        unstarted = model.stream("hello", **FIXED)
    model.close()
    for use in (lambda: list(stream), lambda: list(unstarted), lambda: model.generate("hello")):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_sampling_comes_from_the_registry_then_the_file_then_the_defaults(tmp_path: Path) -> None:
    """And a caller's word is before all of them."""
    recommends = {"general.sampling.temp": 0.25, "general.sampling.top_k": 7}
    path = ggufs.write(tmp_path / "x.gguf", metadata=recommends)
    with loaded(path) as model:
        assert model.sampling() == SamplingParams(temperature=0.25, top_k=7)
        assert model.sampling(top_k=3) == SamplingParams(temperature=0.25, top_k=3)
    with loaded(path, entry(sampling=Sampling(temperature=0.5, min_p=0.0))) as model:
        assert model.sampling() == SamplingParams(temperature=0.5, top_k=7, min_p=0.0)


def test_sampling_that_nobody_can_use_is_ignored(tmp_path: Path) -> None:
    """A file's odd recommendation does not make it unusable."""
    path = ggufs.write(tmp_path / "x.gguf", metadata=BAD_SAMPLING)
    with loaded(path) as model:
        assert model.sampling() == SamplingParams()
        assert model.generate("hello", **FIXED).text


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"threads": 513},
        {"gpu_layers": "some"},
        {"gpu_layers": -1},
        {"kv_type": "f8"},
        {"kv_type": "f16,"},
        {"require_gpu": True, "gpu_layers": 0},
    ],
)
def test_load_options_out_of_range_are_refused_before_loading(
    llama: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for forty gigabytes to learn of a typing error."""
    monkeypatch.setattr("lokal.opening.LlamaModel", None)
    with pytest.raises(UsageError):
        lokal.load(str(llama), **options)


@pytest.mark.parametrize(("given", "native"), [("auto", None), ("all", -1), ("12", 12), (0, 0)])
def test_gpu_layers(given: str | int, native: int | None) -> None:
    """auto, all, or a number."""
    assert LoadOptions(gpu_layers=given).wishes().layers == native


@pytest.mark.parametrize(
    ("split", "wishes"),
    [
        ("layer", ("layer", ())),
        ("none", ("none", ())),
        ("row", ("row", ())),
        ("3,1", ("layer", (3.0, 1.0))),
    ],
)
def test_split(split: str, wishes: tuple[str, tuple[float, ...]]) -> None:
    """A way to split, or the share of each GPU."""
    assert LoadOptions(split=split).wishes()[1:3] == wishes


@pytest.mark.parametrize(
    "options",
    [
        {"split": "half"},
        {"split": "1,-1"},
        {"split": "0,0"},
        {"split": "nan"},
        {"main_gpu": -1, "split": "none"},
        {"main_gpu": 0},
        {"main_gpu": 1, "split": "3,1"},
        {"flash": "maybe"},
        {"load_mode": "fast"},
    ],
)
def test_words_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    """And the hint has those that do."""
    with pytest.raises(UsageError) as caught:
        LoadOptions(**options).check()
    assert caught.value.hint


def test_the_threads_of_a_huge_machine_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asked for more than llama.cpp can take."""
    monkeypatch.setattr("lokal.loading.usable_cores", lambda: 4000)
    assert LoadOptions().native_threads() == 512


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    """Errors are those of the command line, for callers to catch."""
    with pytest.raises(ModelNameError):
        lokal.load(str(tmp_path / "absent.gguf"))
    with pytest.raises(LoadError):
        lokal.load(str(ggufs.truncate(ggufs.write(tmp_path / "x.gguf"), -10)))


def test_a_split_model_is_loaded_by_its_first_shard(tmp_path: Path) -> None:
    """It is the same model as in one file."""
    first, _ = ggufs.write_split(tmp_path / "split.gguf")
    whole = ggufs.write(tmp_path / "whole.gguf")
    texts = set()
    for path in (first, whole):
        with lokal.load(str(path), threads=1) as model:
            texts.add(model.generate("hello", **FIXED).text)
    assert len(texts) == 1


def test_a_batch_answers_in_order(llama: Path) -> None:
    """One completion for each prompt, the same as one at a time; a bad prompt fails alone."""
    prompts = ["hello", "the world", "", "once upon a time " * 200, "say it", "a little"]
    with lokal.load(str(llama), ctx=256, threads=1) as model:
        alone = [model.generate(prompts[at], **FIXED).text for at in (0, 1, 2, 4, 5)]
    with lokal.load(str(llama), ctx=256, threads=1, parallel=3) as model:
        done = list(model.batch(iter(prompts), **FIXED))
        assert [answer.text for answer in done if not answer.error] == alone
        assert [type(answer.error) for answer in done if answer.error] == [ContextError]
        assert done[3].finish_reason == "error"
        assert list(model.batch([])) == []


def test_what_no_prompt_could_make_right_is_refused_at_once(model: Model) -> None:
    """Before the first prompt is taken, and not a failure for each of them."""
    for wrong in ({"temperature": -1}, {"schema": '{"type": "nothing"}'}, {"schema": "{"}):
        with pytest.raises(UsageError):
            model.batch(iter([]), **wrong)


def test_a_model_is_used_while_a_batch_is_under_way(llama: Path) -> None:
    """Between two answers, by the prompts themselves, and after a batch was left half-way."""
    with lokal.load(str(llama), ctx=256, threads=1, parallel=2) as model:
        expected = [answer.text for answer in model.batch(["hello", "you", "time"], **FIXED)]
        alone = model.generate("the world", **FIXED).text
        got = []
        for answer in model.batch(["hello", "you", "time"], **FIXED):
            got.append(answer.text)
            assert model.generate("the world", **FIXED).text == alone
        assert got == expected

        def asking() -> Iterator[str]:
            for word in ("hello", "you", "time"):
                assert model.generate("the world", **FIXED).text == alone
                yield word

        assert [answer.text for answer in model.batch(asking(), **FIXED)] == expected
        left = model.batch(["hello", "you", "time"], **FIXED)
        assert next(left).text == expected[0]
        assert model.generate("the world", **FIXED).text == alone
        assert [answer.text for answer in left] == expected[1:]
        abandoned = model.batch(["hello", "you", "time"], **FIXED)
        next(abandoned)
        del abandoned
        assert not model._engine.scheduler.has_work


@pytest.mark.parametrize("n_ctx", [2, 8, 16, 64, 257])
@pytest.mark.parametrize("parallel", [2, 7, 48, 224])
def test_any_context_and_any_number_of_sequences_go_together(
    llama: Path, n_ctx: int, parallel: int
) -> None:
    """llama.cpp would abort where a cache has fewer cells than sequences."""
    with lokal.load(str(llama), ctx=n_ctx, threads=1, parallel=parallel) as model:
        answers = list(model.batch([""] * 3, raw=True, max_tokens=3, ignore_eos=True))
        assert [answer.usage.completion_tokens for answer in answers] == [min(3, n_ctx)] * 3


def test_threads_take_turns(llama: Path) -> None:
    """Each gets the answers that it would get alone."""
    from threading import Thread

    with lokal.load(str(llama), ctx=256, threads=1, parallel=2) as model:
        expected = {prompt: model.generate(prompt, **FIXED).text for prompt in ("hello", "you")}
        got: list[tuple[str, str]] = []

        def ask(prompt: str) -> None:
            for _ in range(5):
                got.append((prompt, model.generate(prompt, **FIXED).text))
                got.extend((prompt, one.text) for one in model.batch([prompt] * 3, **FIXED))

        threads = [Thread(target=ask, args=(prompt,)) for prompt in expected for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 2 * 2 * 5 * 4
        assert all(text == expected[prompt] for prompt, text in got)


def test_what_is_no_batch(model: Model) -> None:
    """A text is not a list of its letters, and a number is no prompt."""
    with pytest.raises(UsageError, match="no batch"):
        model.batch("hello")
    (answer,) = model.batch([5])  # type: ignore[list-item]
    assert isinstance(answer.error, UsageError)


def test_a_grammar_may_be_a_text(model: Model) -> None:
    """In GBNF or Lark; what is neither a text nor a Grammar is refused."""
    assert model.generate("hello", grammar='root ::= "x"').text == "x"
    with pytest.raises(UsageError, match="the grammar is 5"):
        model.generate("hello", grammar=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked",
    [{"system": 5}, {"tools": 5}, {"tools": "x"}, {"tools": [1]}, {"template_kwargs": "x"}],
)
def test_what_is_of_a_wrong_kind_is_refused_in_words(model: Model, asked: dict[str, Any]) -> None:
    """And None is nothing asked for."""
    with pytest.raises(UsageError, match=min(asked)):
        model.generate("hi", **asked)
    nothing = dict.fromkeys(asked)
    assert model.generate("hi", max_tokens=1, **nothing).usage.completion_tokens == 1
