"""What a measurement runs, and what it makes of times; never how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lokal import gguf
from lokal.bench import Result, Sample, Speed, Trial, Watcher, layouts, measure, parse_counts
from lokal.engine.interrupt import Interrupt
from lokal.engine.request import Request, SamplingParams
from lokal.errors import ContextError, SpaceError, UsageError
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.side_by_side import Answers, Take
from lokal.weights import Weights

ONE_THREAD = LoadOptions(threads=1)


@pytest.fixture(scope="module")
def weights(llama: Path) -> Weights:
    return Weights("llama", llama, gguf.check(llama), None)


class Witness(Watcher):
    """Sees models, and the requests that they get."""

    def __init__(self) -> None:
        self.models: list[Model] = []
        self.loads: list[tuple[int, ...]] = []
        self.begun: list[tuple[int, int]] = []
        self.missing: list[int] = []
        self.runs: list[list[Request]] = []

    def loaded(self, model: Model, counts: Sequence[int]) -> None:
        self.models.append(model)
        self.loads.append(tuple(counts))
        answers = model.answers

        def seen(take: Take, moved: Callable[[], object] = lambda: None) -> Answers:
            self.runs.append([])
            return answers(lambda idle: self._note(take(idle)), moved)

        model.answers = seen  # type: ignore[method-assign]

    def _note(self, request: Request | None) -> Request | None:
        if request:
            self.runs[-1].append(request)
        return request

    def begin(self, sequences: int, repetition: int) -> None:
        self.begun.append((sequences, repetition))

    def left_out(self, sequences: int) -> None:
        self.missing.append(sequences)

    def clock(self) -> float:
        """A second for every token that was sampled."""
        return float(self.models[-1].n_sampled)


@pytest.mark.parametrize(
    ("text", "counts"), [("1", (1,)), ("1,2,4", (1, 2, 4)), ("16, 2,2", (2, 16)), ("224", (224,))]
)
def test_counts_are_sorted_and_each_there_once(text: str, counts: tuple[int, ...]) -> None:
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "0", "-1", "1,", "a", "1;2", "225", "1.5", "auto"])
def test_what_is_no_list_of_counts_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--parallel"):
        parse_counts(text)


def test_weights_are_laid_out_anew_from_16_sequences_on() -> None:
    assert layouts([1, 15, 16, 64]) == [[1, 15], [16, 64]]
    assert layouts([16]) == [[16]]


def test_a_speed_is_the_median_of_the_repetitions() -> None:
    result = Result(2, (Sample(1.0, None), Sample(9.0, None), Sample(2.0, None)))
    assert result.prompt == Speed(median=2.0, min=1.0, max=9.0)
    assert result.generate is None


def test_tokens_a_second_are_those_of_all_sequences(weights: Weights) -> None:
    """By a clock that counts sampled tokens, of which a prompt gives one."""
    witness = Witness()
    found = list(
        measure(
            weights,
            ONE_THREAD,
            Trial(prompt=24, generate=5, repetitions=2),
            [1, 3, 16],
            Interrupt(),
            witness,
            clock=witness.clock,
        )
    )
    assert found == [(count, Sample(24.0, 1.0)) for count in (1, 1, 3, 3, 16, 16)]
    assert witness.begun == [(count, number) for count in (1, 3, 16) for number in (1, 2)]
    assert witness.loads == [(1, 3), (16,)]
    assert [model.shape.n_parallel for model in witness.models] == [3, 16]


def test_prompts_are_random_without_control_tokens_and_never_alike(weights: Weights) -> None:
    """The same in every run; as many prompts as fill a batch, as many answers as sequences."""
    witnesses = Witness(), Witness()
    for witness in witnesses:
        list(measure(weights, ONE_THREAD, Trial(300, 2, 1), [4], Interrupt(), witness))
    witness = witnesses[0]
    assert witness.runs == witnesses[1].runs
    _, _, prompts, answers = witness.runs  # after a warm-up of both
    assert [len(request.tokens) for request in prompts] == [300, 300]
    assert [len(request.tokens) for request in answers] == [1] * 4
    greedy = SamplingParams(temperature=0, max_tokens=2, ignore_eos=True)
    assert {request.params for request in answers} == {greedy}
    with Model(weights, ONE_THREAD) as model:
        written = {token: model.vocabulary.piece(token) for token in range(5)}
        for run in witness.runs:
            assert len({request.tokens[0] for request in run}) == len(run)
            assert all(written.get(token, b"x") for request in run for token in request.tokens)


def test_a_test_of_no_tokens_is_left_out(weights: Weights) -> None:
    for trial, wanted in ((Trial(0, 3, 1), (None, 1.0)), (Trial(8, 0, 1), (8.0, None))):
        witness = Witness()
        (found,) = measure(weights, ONE_THREAD, trial, [2], Interrupt(), witness, witness.clock)
        assert found == (2, wanted)


def test_what_would_have_to_give_way_is_left_out(weights: Weights) -> None:
    """Where contexts are large, a cache for all has room for 1024 tokens each."""
    witness = Witness()
    trial, options = Trial(0, 2000, 1), ONE_THREAD._replace(ctx=4096)
    with pytest.raises(SpaceError, match="room for none"):
        list(measure(weights, options, trial, [8, 9], Interrupt(), witness))
    assert witness.missing == [8, 9]
    assert witness.runs == []


@pytest.mark.parametrize("trial", [Trial(prompt=64, generate=1), Trial(prompt=1, generate=64)])
def test_what_does_not_fit_the_context_is_refused_before_anything_is_loaded(trial: Trial) -> None:
    trial.check(65)
    with pytest.raises(ContextError, match="64 tokens needs a context of 65, not 64"):
        trial.check(64)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(UsageError):
        Trial(0, 0).check(None)


def test_ctrl_c_keeps_what_was_measured(weights: Weights) -> None:
    interrupt = Interrupt()

    class Impatient(Watcher):
        def begin(self, sequences: int, repetition: int) -> None:  # noqa: ARG002
            if repetition == 2:
                interrupt.request()

    samples = measure(weights, ONE_THREAD, Trial(8, 2), [1], interrupt, Impatient())
    assert next(samples)[0] == 1
    with pytest.raises(KeyboardInterrupt):
        next(samples)
