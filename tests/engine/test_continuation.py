"""A conversation goes on in the tokens that the KV cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import ggufs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lokal
from lokal import settings
from lokal.engine.continuation import continued
from lokal.engine.request import FinishEvent, Request, TextEvent, Usage
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.weights import find, obtain

PIECES = [b"a", b"b", b"ab", b"ba", b"aba", b"bb", b"\xff<6>"]
TOKENS = st.lists(st.integers(0, len(PIECES) - 1), max_size=12)


def spelled(tokens: tuple[int, ...] | list[int]) -> bytes:
    return b"".join(PIECES[token] for token in tokens)


def alike(one: tuple[int, ...] | list[int], other: tuple[int, ...] | list[int]) -> int:
    same = [a == b for a, b in zip(one, other, strict=False)]
    return same.index(False) if False in same else len(same)


@given(TOKENS, TOKENS)
def test_the_text_stays_and_the_most_of_what_is_held_serves_again(
    tokens: list[int], held: list[int]
) -> None:
    """No other way to cut the same text, ending in tokens of the prompt, has more of it."""
    result = continued(tokens, held, PIECES.__getitem__)
    assert spelled(result) == spelled(tokens)
    best = max(
        count
        for count in range(len(held) + 1)
        for rest in range(len(tokens) + 1)
        if spelled([*held[:count], *tokens[rest:]]) == spelled(tokens)
        and spelled(held[:count]) == spelled(tokens[:rest])
    )
    assert alike(result, held) >= best


def test_an_answer_cut_in_other_tokens_is_found() -> None:
    """ "ab" "a" was written, "aba" is what the text is cut into."""
    assert continued((1, 4, 5), (1, 2, 0, 3), PIECES.__getitem__) == (1, 2, 0, 5)


def test_a_control_token_is_not_the_text_that_looks_like_it() -> None:
    """Text of a user who writes its name must not become one."""
    look_alike = [b"</s>", b"\xff<1>"]
    assert continued((0, 0), (1, 1), look_alike.__getitem__) == (0, 0)


class Turn(NamedTuple):
    request: Request
    text: str
    usage: Usage


def load(path: str, options: LoadOptions) -> Model:
    around = settings.load()
    return Model(obtain(find(path, around), around), options)


def answer(model: Model, request: Request) -> Turn:
    *texts, end = model.events(request)
    assert isinstance(end, FinishEvent)
    text = "".join(event.text for event in texts if isinstance(event, TextEvent))
    return Turn(request, text, end.usage)


def talk(model: Model, n_turns: int, **sampling: object) -> list[Turn]:
    """A conversation, turn by turn."""
    messages: list[dict[str, str]] = []
    turns: list[Turn] = []
    params = model.sampling(temperature=0, max_tokens=24, **sampling)
    for number in range(n_turns):
        messages.append({"role": "user", "content": f"hello world number {number}"})
        prompt = model.format().build(messages)
        turns.append(answer(model, model.request(prompt, params, seed=1)))
        messages.append({"role": "assistant", "content": turns[-1].text})
    return turns


def test_twenty_turns_evaluate_their_own_tokens_only() -> None:
    """Not a token of an earlier turn, but the one that was sampled last and never computed."""
    with load("tiny", LoadOptions(keep=True)) as model:
        turns = talk(model, 20)
    before = 1
    for turn in turns:
        usage = turn.usage
        assert usage.prompt_tokens - usage.cached_tokens <= turns[0].usage.prompt_tokens + 3
        assert usage.cached_tokens >= before - 1
        before = usage.prompt_tokens + usage.completion_tokens - 1
    assert before > 300


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_what_was_kept_answers_like_what_is_computed_anew(arch: str, tmp_path: Path) -> None:
    """Greedy, with a sliding window too."""
    template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    path = str(ggufs.write(tmp_path / "x.gguf", arch, blocks=7, template=template))
    with load(path, LoadOptions(keep=True, threads=1)) as model:
        kept = talk(model, 5, ignore_eos=True)
    anew = []
    for turn in kept:
        with load(path, LoadOptions(keep=True, threads=1)) as model:
            anew.append(answer(model, turn.request))
    assert [turn.text for turn in kept] == [turn.text for turn in anew]
    assert all(turn.usage.cached_tokens == 0 for turn in anew)
    assert kept[-1].usage.cached_tokens > 100


def test_beginnings_are_shared_where_there_is_a_sliding_window(tmp_path: Path) -> None:
    """Its layers keep all positions then, whatever the kind of cache."""
    path = str(ggufs.write(tmp_path / "x.gguf", "gemma3", blocks=7, context=4096))
    prompts = [f"{'hello world the time ' * 4}{word}" for word in ("you", "are", "in", "to")]
    fixed = {"temperature": 0, "max_tokens": 16, "ignore_eos": True}
    with lokal.load(path, ctx=256, threads=1) as model:
        alone = [model.generate(prompt, **fixed).text for prompt in prompts]
    for ctx in (256, 4096):
        with lokal.load(path, ctx=ctx, threads=1, parallel=4) as model:
            answers = list(model.batch(prompts, **fixed))
            assert [answer.text for answer in answers] == alone
            assert sum(answer.usage.cached_tokens > 16 for answer in answers) == 3
