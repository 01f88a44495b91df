"""A sequence: what is reasoning and what is answer, and when an answer is not what was asked."""

from __future__ import annotations

import pytest
from engine_fakes import EOG, engine, engine_of, finish_of, request, say, shape, text_of

from lokal.engine.reasoning import Channels, Reasoning, Tags
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Request,
    SamplingParams,
    TextEvent,
    TokenLogprob,
)
from lokal.engine.sequence import Sequence
from lokal.errors import ConstraintError, IncompleteError, LokalError, UsageError

OPEN = ord("<")
THINKS = Reasoning(Tags("<", "</t>"), open_token=OPEN, closing=tuple(b"</t>"))
THINKING = THINKS._replace(prompt="question\n<\n")


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

    def accept_bytes(self, data: bytes) -> None:
        for byte in data:
            self.accept(byte)

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


def test_only_tokens_that_were_sampled_and_taken_have_a_log_probability() -> None:
    """Not one that the constraint rejects, and not what is put in to close reasoning."""
    closed = asked("", "yes", reasoning=THINKING, logprobs=0, reasoning_budget=1)
    sequence = Sequence(closed, n_most=100)
    for letter in "hyex":
        sequence.likelihood = TokenLogprob(letter, ord(letter), -1.0, letter.encode())
        sequence.push(ord(letter), letter.encode(), ends=False)
    assert sequence.logprobs is not None
    assert [entry.token for entry in sequence.logprobs] == ["h", "y", "e"]
    assert sequence.n_generated == len("h</t>yex")
    assert isinstance(sequence.failure(FinishReason.STOP), ConstraintError)


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


def test_a_token_that_ends_reasoning_and_begins_the_answer() -> None:
    """The constraint gets the answer's bytes of it, and every token after it."""
    for first, second in ((b"h</t>ye", b"s"), (b"h</t>\n", b"yes"), (b"h</", b"t>\n\nyes")):
        sequence = Sequence(asked("", "yes", reasoning=THINKING))
        shown = sequence.push(300, first, ends=False)
        # Tokens of several bytes are known to the fake constraint only where it is given bytes.
        rest = [second] if second.startswith(b"t>") else [bytes([byte]) for byte in second]
        for piece in rest:
            shown += sequence.push(piece[0], piece, ends=False)
        assert sequence.answered
        assert sequence.failure(FinishReason.STOP) is None
        assert "".join(text for text, reasoning in shown if not reasoning) == "yes"
    sequence = Sequence(asked("", "yes", reasoning=THINKING))
    sequence.push(300, b"h</t>no", ends=False)
    assert isinstance(sequence.failure(FinishReason.STOP), ConstraintError)


HEADER = "<|channel|>final<|message|>"
HARMONY = Reasoning(Channels(), "<|start|>assistant", open_token=OPEN)


def test_no_header_is_constrained() -> None:
    """Where there are channels: only the text of an answer is; one may come without a header."""
    begin = "<|channel|>analysis<|message|>no<|end|><|start|>assistant" + HEADER
    sequence = Sequence(asked("", "yes", reasoning=HARMONY))
    flags = []
    for letter in begin + "yes":
        flags.append(sequence.constrained)
        sequence.push(ord(letter), letter.encode(), ends=False)
    assert flags == [True, *[False] * (len(begin) - 1), True, True, True]
    assert sequence.failure(FinishReason.STOP) is None
    assert parts(events_of(asked("yes", "yes", reasoning=HARMONY))) == ("", "yes")


@pytest.mark.parametrize("mark", ["<|end|>", "<|channel|>", "</t>", "<", " <"])
def test_a_constrained_answer_may_spell_any_mark(mark: str) -> None:
    """What its form allows is the answer."""
    events = events_of(asked("<hm</t>" + mark, mark, reasoning=THINKS))
    assert parts(events) == ("hm", mark)
    events = events_of(asked(HEADER + mark, mark, reasoning=HARMONY))
    assert parts(events) == ("", mark)


def test_without_a_token_for_the_mark_a_constrained_answer_begins_at_once() -> None:
    """The mask can let one token through, not several."""
    for reasoning in (THINKS, HARMONY):
        sequence = Sequence(asked("", "<", reasoning=reasoning._replace(open_token=None)))
        assert sequence.constrained
        assert sequence.push(OPEN, b"<", ends=False) == [("<", False)]


def test_an_answer_s_own_end_mark_ends_it() -> None:
    """Some models write the one that histories are written with."""
    sequence = Sequence(asked("", reasoning=HARMONY))
    for letter in HEADER + "yes":
        sequence.push(ord(letter), letter.encode(), ends=False)
        assert not sequence.answered
    assert sequence.push(300, b"<|end|>", ends=False) == []
    assert sequence.answered


def test_somebody_else_s_message_ends_the_answer() -> None:
    """A model that plays the user has no more to say, and no answer of the form asked for."""
    said = "<|channel|>analysis<|message|>hm<|end|><|start|>user<|message|>yes"
    for form in ("", "yes"):
        sequence = Sequence(asked("", form, reasoning=HARMONY))
        shown = [p for c in said for p in sequence.push(ord(c), c.encode(), ends=False)]
        assert "".join(text for text, reasoning in shown if reasoning) == "hm"
        assert all(reasoning for _, reasoning in shown + sequence.flush())
        assert sequence.answered
        assert (sequence.failure(FinishReason.STOP) is None) is (not form)


def test_a_control_token_s_name_is_a_mark() -> None:
    """It writes nothing otherwise."""
    running, _ = engine_of(shape(), "<", "</t>", "<other>")
    said = [EOG + 1, *b"h", EOG + 3, *b"m", EOG + 2, *b"ye", EOG + 1, *b"s"]
    script = request("script")._replace(reasoning=THINKS._replace(open_token=EOG + 1))
    events: list[Event] = []
    running.add(script)
    for token in [*said, EOG]:
        plan = running.scheduler.plan()
        events += running.scheduler.advance(plan, [token])
    assert parts(events) == ("hm", "yes")


# -- the budget


@pytest.mark.parametrize(
    ("reasoning", "budget", "said", "expected"),
    [
        # The script goes on behind the four tokens that are put into it.
        (THINKING, 2, "hm    yes", ("hm", "yes")),
        (THINKING, 0, "    yes", ("", "yes")),
        (THINKING, 0, "      yes", ("", "yes")),
        (THINKS, 2, "<hm    yes", ("hm", "yes")),
        (THINKS, 0, "<    yes", ("", "yes")),
        (THINKS, 0, "yes", ("", "yes")),
        (THINKS, 2, "<hm</t>yes", ("hm", "yes")),  # its own mark comes where ours is put
        (THINKS, 7, "<hm</t>yes", ("hm", "yes")),
        (THINKING, 4, "hm</    yes", ("hm</", "yes")),
    ],
)
def test_reasoning_that_has_used_up_its_budget_is_closed(
    reasoning: Reasoning, budget: int, said: str, expected: tuple[str, str]
) -> None:
    """As if the model had written what ends it; these tokens count as its own."""
    for form in ("", expected[1]):
        if form and "      " in said:
            continue  # the form allows no space in front
        asked_ = asked(said, form, reasoning=reasoning, reasoning_budget=budget)
        events = events_of(asked_)
        end = finish_of(events)
        assert parts(events) == expected
        assert end.usage.completion_tokens == len(said) + (not form)
        assert (end.reason, end.error) == (FinishReason.STOP, None)


def test_what_ends_the_reasoning_is_computed_with_the_next_batch() -> None:
    """It is sampled after its last token, and not before."""
    running, backend = engine()
    asked_ = asked("hm    yes", reasoning=THINKING, reasoning_budget=2)
    running.add(asked_)
    sizes = []
    while running.scheduler.has_work:
        before = len(backend.computed)
        running.step()
        sizes.append(len(backend.computed) - before)
        running.scheduler.check_integrity()
    assert sizes == [3, 1, 1 + 4, 1, 1, 1]
    assert bytes(backend.computed[3:]) == b"hm</t>yes"


def test_limits_bound_what_is_put_in_too() -> None:
    """Reasoning goes on to the limit where no answer would have room behind its end."""
    for most in range(1, 12):
        cut = asked("hm    yes....", reasoning=THINKING, reasoning_budget=2, max_tokens=most)
        events = events_of(cut)
        end = finish_of(events)
        assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, most)
        thought, answer = parts(events)
        assert (thought, answer) == (
            ("hm", "yes...."[: most - 6]) if most > 6 else ("hm    "[:most], "")
        )
        at_once = cut._replace(params=SamplingParams(reasoning_budget=0, max_tokens=most))
        end = finish_of(events_of(at_once._replace(id="say:    yes....")))
        assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, most)


def test_a_budget_is_a_whole_number() -> None:
    """And not below nothing."""
    for wrong in (-1, 1.5, True, "2"):
        with pytest.raises(UsageError, match="reasoning_budget"):
            SamplingParams(reasoning_budget=wrong)  # type: ignore[arg-type]  # that is the point


def test_a_sequence_that_begins_again_keeps_its_first_numbers() -> None:
    """When it began, and what it found then; only its place is another one."""
    sequence = Sequence(request(n_prompt=9))
    sequence.begin(3, 5)
    begun_at = sequence.begun_at
    sequence.begin(1, 7)
    assert (sequence.slot, sequence.n_computed, sequence.n_pending) == (1, 7, 2)
    assert (sequence.n_cached, sequence.begun_at) == (5, begun_at)
