"""The conversation as a thing of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokal.dialogue import Dialogue
from lokal.engine.chat import Message
from lokal.errors import UsageError

TEXTS = st.text(max_size=20)
SYSTEMS = st.none() | st.text(min_size=1, max_size=20)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS, st.none() | st.text(min_size=1, max_size=5)), max_size=8)


def dialogue(system: str | None, pairs: Sequence[tuple[str, str, str | None]]) -> Dialogue:
    talk = Dialogue(system)
    for question, answer, reasoning in pairs:
        talk.ask(question)
        talk.answer(answer, reasoning)
    return talk


def size(messages: Sequence[Message]) -> int:
    """As a template would have it: each message costs something, its text the rest."""
    return sum(3 + len(message["content"]) for message in messages)


def check(talk: Dialogue, system: str | None) -> None:
    """What holds at any time: the system text is first, and roles alternate after it."""
    messages = talk.messages
    if system:
        assert messages.pop(0) == {"role": "system", "content": system}
    roles = [message["role"] for message in messages]
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    assert talk.waiting == (roles[-1:] == ["user"])


@given(SYSTEMS, st.lists(st.sampled_from(["ask", "undo", "regen", "failed", "drop", "clear"])))
def test_whatever_is_done_it_stays_a_conversation(system: str | None, steps: list[str]) -> None:
    """Asking, undoing, asking again, dropping, clearing: in any order."""
    talk = Dialogue(system)
    for number, step in enumerate(steps):
        if step == "ask":
            talk.ask(f"question {number}")
            check(talk, system)
            talk.answer(f"answer {number}")
        elif step == "undo":
            before = talk.messages
            taken = talk.undo()
            assert talk.messages + taken == before
        elif step == "regen" and talk.unanswer() is not None:
            check(talk, system)
            talk.answer(f"another answer {number}")
        elif step == "failed" and (old := talk.unanswer()) is not None:
            talk.restore(old)
        elif step == "drop":
            talk.drop(1)
        elif step == "clear":
            talk.clear()
        check(talk, system)


@given(SYSTEMS, PAIRS)
def test_saved_and_loaded_it_is_the_same(
    system: str | None, pairs: list[tuple[str, str, str | None]]
) -> None:
    """Through JSON text, reasoning and system text included, and as a bare list."""
    talk = dialogue(system, pairs)
    saved = json.loads(json.dumps(talk.to_json("tiny")))
    assert saved["model"] == "tiny"
    if talk.messages:
        for form in (saved, saved["messages"]):
            again = Dialogue.from_json(form)
            assert (again.system, again.turns) == (talk.system, talk.turns)


@given(SYSTEMS, PAIRS, TEXTS, st.integers(1, 200))
def test_only_whole_old_turns_go(
    system: str | None, pairs: list[tuple[str, str, str | None]], last: str, limit: int
) -> None:
    """Nothing goes that need not; the last question and the system text never go."""
    talk = dialogue(system, pairs)
    talk.ask(last)
    before = talk.messages
    fit = talk.fit(size, limit)
    assert (fit.n_dropped == 0) == (size(before) <= limit or len(talk.turns) == 1)
    talk.drop(fit.n_dropped)
    check(talk, system)
    assert size(talk.messages) == fit.n_tokens
    assert talk.turns[-1] == [{"role": "user", "content": last}]
    n_kept = len(before) - 2 * fit.n_dropped - bool(system)
    assert talk.messages[bool(system) :] == (before[-n_kept:])
    if fit.n_dropped:  # a third of the limit is free, if that can be
        assert fit.n_tokens <= limit * 2 // 3 or len(talk.turns) == 1


def test_the_next_turn_drops_nothing() -> None:
    """Where turns are small against the limit, dropping is rare."""
    talk, dropped = Dialogue("Be brief."), []
    for _ in range(200):
        talk.ask("x" * 10)
        n = talk.fit(size, 300).n_dropped
        talk.drop(n)
        dropped.append(n > 0)
        talk.answer("y" * 10)
    assert any(dropped)
    assert (True, True) not in set(pairwise(dropped))


def test_a_conversation_from_elsewhere_keeps_its_turns_together() -> None:
    """Tools answer within a turn; what stands before the first question goes with it."""
    call = {"role": "assistant", "content": "calling"}
    talk = Dialogue.from_json(
        [
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "weather?"},
            call,
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": "It rains."},
            {"role": "user", "content": "thanks"},
        ]
    )
    assert [len(turn) for turn in talk.turns] == [5, 1]
    assert talk.waiting
    talk.undo()
    answer = talk.unanswer()
    assert answer
    assert answer[0] == call
    assert talk.turns[0][-1]["content"] == "weather?"


def test_system_texts_come_together_in_front() -> None:
    """None of them is lost when old turns go."""
    user = {"role": "user", "content": "hi"}
    system, developer = ({"role": r, "content": r} for r in ("system", "developer"))
    talk = Dialogue.from_json({"messages": [system, user, developer]})
    assert talk.messages == [{"role": "system", "content": "system\n\ndeveloper"}, user]


@pytest.mark.parametrize("value", [{}, {"messages": 1}, "text", None, [], [1], [{"role": "user"}]])
def test_what_is_no_conversation_is_refused(value: object) -> None:
    """With a hint at what would be one."""
    with pytest.raises(UsageError):
        Dialogue.from_json(value)
