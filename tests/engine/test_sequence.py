"""A sequence: what is reasoning and what is answer, and when an answer is not what was asked."""

from __future__ import annotations

import pytest
from engine_fakes import engine, finish_of, request, say, text_of

from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Reasoning,
    Request,
    Sequence,
    TextEvent,
)
from lokal.errors import ConstraintError, IncompleteError, LokalError

OPEN = ord("<")
THINKS = Reasoning("</t>", opened=False, open_token=OPEN)
THINKING = Reasoning("</t>", opened=True)


class Exactly:
    """A constraint that any beginning of one text matches, from `n_least` bytes on.

    What does not match is an error: the fake model looks at no mask.
    """

    def __init__(self, text: str, n_least: int) -> None:
        self.text, self.n_least, self.n_accepted = text.encode(), n_least, 0
        self.error: LokalError | None = None

    def matcher(self) -> Exactly:
        return Exactly(self.text.decode(), self.n_least)

    def mask(self, _logits: int, _keep: int | None = None) -> None:
        raise AssertionError

    def accept(self, token: int) -> None:
        if self.text[self.n_accepted :][:1] == bytes([token]):
            self.n_accepted += 1
        else:
            self.error = ConstraintError("no match", hint="no")

    @property
    def complete(self) -> bool:
        return self.n_accepted >= self.n_least

    @property
    def ended(self) -> bool:
        return self.n_accepted == len(self.text)


def asked(
    said: str,
    form: str = "",
    n_least: int = 0,
    reasoning: Reasoning | None = None,
    **params: object,
) -> Request:
    """A request that is answered with `said`, and was to be answered with `form`."""
    constraint = Exactly(form, n_least or len(form)) if form else None
    return say(said, **params)._replace(constraint=constraint, reasoning=reasoning)


def events_of(request: Request) -> list[Event]:
    return list(engine()[0].stream(request))


def parts(events: list[Event]) -> tuple[str, str]:
    """What was reasoning, and what was the answer."""
    thought = (e for e in events if isinstance(e, TextEvent) and e.reasoning)
    answer = (e for e in events if isinstance(e, TextEvent) and not e.reasoning)
    return text_of(thought), text_of(answer)


def error_of(end: FinishEvent) -> str:
    """The message of an answer that is not what was asked for."""
    assert end.reason is FinishReason.ERROR
    assert isinstance(end.error, IncompleteError)
    return end.error.message


def test_an_answer_that_matches_is_ended_without_another_token() -> None:
    """The model has no chance to say more."""
    events = events_of(asked("yes and more", "yes"))
    end = finish_of(events)
    assert text_of(events) == "yes"
    assert (end.reason, end.error, end.usage.completion_tokens) == (FinishReason.STOP, None, 3)


@pytest.mark.parametrize("said", ["ye", "y"])
def test_an_answer_that_ends_too_early_is_an_error(said: str) -> None:
    """The model gave up; what it said comes out all the same."""
    events = events_of(asked(said, "yes"))
    assert text_of(events) == said
    assert "the answer ended before it matched" in error_of(finish_of(events))


def test_an_answer_may_end_where_it_matches() -> None:
    """Even if more could follow."""
    end = finish_of(events_of(asked("yes", "yes, please", 3)))
    assert (end.reason, end.error) == (FinishReason.STOP, None)
    end = finish_of(events_of(asked("yes, please", "yes, please", 3, max_tokens=5)))
    assert (end.reason, end.error) == (FinishReason.LENGTH, None)


def test_an_answer_that_is_cut_is_an_error() -> None:
    """The hint is another one than where the model gave up."""
    events = events_of(asked("yes", "yes", max_tokens=2))
    assert "the answer was cut after 2 tokens" in error_of(finish_of(events))
    assert "-n" in finish_of(events).error.hint  # type: ignore[union-attr]  # it was just read


def test_a_stop_text_cuts_an_answer_whether_it_matched_or_not() -> None:
    """What was masked included the stop text; what is left of the answer may be no match."""
    events = events_of(asked("yes, please", "yes, please", 2, stop=("s,",)))
    assert text_of(events) == "ye"
    assert "ended before it matched" in error_of(finish_of(events))


def test_an_aborted_answer_is_no_error() -> None:
    """Whoever asked no longer wants it."""
    running, _ = engine()
    running.add(asked("yes", "yes"))
    running.step()
    end = finish_of(running.scheduler.abort("say:yes"))
    assert (end.reason, end.error) == (FinishReason.ABORTED, None)


def test_a_token_that_the_constraint_cannot_take_is_its_error_and_no_text() -> None:
    """The answer ends there."""
    events = events_of(asked("yes", "yea"))
    end = finish_of(events)
    assert text_of(events) == "ye"
    assert end.reason is FinishReason.ERROR
    assert isinstance(end.error, ConstraintError)


@pytest.mark.parametrize(
    ("reasoning", "said", "expected"),
    [
        (THINKS, "<hm</t>yes", ("hm", "yes")),
        (THINKS, "yes", ("", "yes")),
        (THINKS, "<</t>yes", ("", "yes")),
        (THINKING, "hm</t>yes", ("hm", "yes")),
        (THINKING, "<h</tm</t>yes", ("<h</tm", "yes")),
        (THINKING, "</t>yes", ("", "yes")),
    ],
)
def test_reasoning_comes_before_the_answer(
    reasoning: Reasoning, said: str, expected: tuple[str, str]
) -> None:
    """Only the answer is constrained; neither has the marks between them."""
    events = events_of(asked(said, "yes", reasoning=reasoning))
    assert parts(events) == expected
    assert finish_of(events).reason is FinishReason.STOP
    flags = [event.reasoning for event in events if isinstance(event, TextEvent)]
    assert flags == sorted(flags, reverse=True)


def test_only_the_first_token_begins_reasoning() -> None:
    """Later it is text like any other, constrained or not."""
    events = events_of(asked("y<s", "y<s", reasoning=THINKS))
    assert parts(events) == ("", "y<s")
    assert finish_of(events).reason is FinishReason.STOP
    assert parts(events_of(asked("y<s</t>", reasoning=THINKS))) == ("", "y<s</t>")


def test_reasoning_is_over_once() -> None:
    """What closes it is text when it comes again, and so is what opens it."""
    said = "<hm</t><x</t>"
    assert parts(events_of(asked(said, reasoning=THINKS))) == ("hm", "<x</t>")
    assert parts(events_of(asked(said, reasoning=THINKING))) == ("<hm", "<x</t>")


@pytest.mark.parametrize(
    ("reasoning", "said"), [(THINKS, "<hm, yes</"), (THINKING, "hm, yes</"), (THINKING, "</")]
)
def test_reasoning_that_is_never_over_is_no_answer(reasoning: Reasoning, said: str) -> None:
    """All of it comes out as reasoning, with what was held back for its end."""
    expected = (said.removeprefix("<") if reasoning is THINKS else said, "")
    # A form that any answer would match, even none.
    events = events_of(asked(said, "xx", reasoning=reasoning)._replace(constraint=Exactly("xx", 0)))
    assert parts(events) == expected
    assert "the reasoning ended before it matched" in error_of(finish_of(events))
    cut = asked(said + "....", "xx", reasoning=reasoning, max_tokens=len(said))
    events = events_of(cut)
    assert parts(events) == expected
    assert f"the reasoning was cut after {len(said)} tokens" in error_of(finish_of(events))


def test_a_stop_text_ends_the_answer_and_not_the_reasoning() -> None:
    """It is free to contain anything."""
    events = events_of(asked("<yes</t>yes no", reasoning=THINKS, stop=("s",)))
    assert parts(events) == ("yes", "ye")


def test_nothing_is_masked_while_the_model_reasons() -> None:
    """The first token may begin it; from its end on the answer is masked."""
    sequence = Sequence(asked("", "yes", reasoning=THINKS))
    flags = []
    for letter in "<h</t>y":
        flags.append(sequence.constrained)
        sequence.push(ord(letter), letter.encode(), ends=False)
    assert flags == [True, False, False, False, False, False, True]
    assert not Sequence(request()).constrained


def test_the_mask_lets_reasoning_begin_and_only_at_the_beginning() -> None:
    """The token that opens it is no part of the answer's form."""
    kept: list[int | None] = []

    class Masked(Exactly):
        def matcher(self) -> Masked:
            return Masked("yes", 3)

        def mask(self, _logits: int, keep: int | None = None) -> None:
            kept.append(keep)

    for reasoning in (THINKS, None):
        sequence = Sequence(asked("", reasoning=reasoning)._replace(constraint=Masked("yes", 3)))
        sequence.mask(0)
        sequence.push(ord("y"), b"y", ends=False)
        sequence.mask(0)
    assert kept == [OPEN, None, None, None]


def test_a_sequence_that_begins_again_keeps_its_first_numbers() -> None:
    """When it began, and what it found then; only its place is another one."""
    sequence = Sequence(request(n_prompt=9))
    sequence.begin(3, 5)
    begun_at = sequence.begun_at
    sequence.begin(1, 7)
    assert (sequence.slot, sequence.n_computed, sequence.n_pending) == (1, 7, 2)
    assert (sequence.n_cached, sequence.begun_at) == (5, begun_at)
