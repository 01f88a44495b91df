"""The real llama.cpp on small real files: answers, limits, refusals."""

from __future__ import annotations

import operator
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ggufs
import pytest
from engine_fakes import finish_of, text_of
from hypothesis import given, settings
from hypothesis import strategies as st

import lokal
from lokal.engine.backend import LlamaContext
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import AllocationError, LlamaModel, _native, native_library, native_log
from lokal.engine.plan import Plan, Shape
from lokal.engine.reasoning import Reasoning, Tags
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Request,
    SamplingParams,
    TextEvent,
)
from lokal.engine.scheduler import Scheduler
from lokal.engine.sequence import Sequence
from lokal.errors import ArchitectureError, DamagedFileError, LoadError, LokalError, UsageError
from lokal.gguf import check
from lokal.hardware.budget import Machine
from lokal.loading import LoadOptions
from lokal.planning import plan
from lokal.weights import Weights

TINY = Path(lokal.__file__).parent / "data" / "tiny.gguf"
KINDS = ["llama", "mixtral", "grok", "bpe", "tiny"]
GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)

ROUNDING = 0.5  # of logits between -15 and 15; 0.09 was measured
LONGER = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)

Opener = Callable[..., "Runner"]


class Countdown(Interrupt):
    """Asks native code to stop at the nth time that it looks."""

    looks = 0

    @property
    def requested(self) -> bool:
        self.looks -= 1
        self._noted |= self.looks == 0
        return self._noted

    @requested.setter
    def requested(self, value: bool) -> None:
        self._noted = value


class Runner:
    """An engine on a real model, closed at the end of the test."""

    def __init__(
        self,
        stack: ExitStack,
        path: Path,
        n_ctx: int = 256,
        n_slots: int = 1,
        n_batch: int = 2048,
        n_cells: int = 0,
        n_threads: int = 1,
        share: bool = True,
    ) -> None:
        self.interrupt = Countdown()
        self.model = LlamaModel(path, self.interrupt)
        stack.callback(self.model.close)
        share = share and n_slots > 1
        n_cells = n_cells or n_ctx * n_slots
        shape = Shape(n_slots, n_slots + 2 * share, n_ctx, n_cells, n_batch, share=share)
        self.context = LlamaContext(self.model, self.interrupt, shape, n_threads=n_threads)
        stack.callback(self.context.close)
        scheduler = Scheduler(self.model.vocabulary, self.context.shape)
        self.engine = Engine(self.context, scheduler)

    def request(self, prompt: str, params: SamplingParams, seed: int = 1, id: str = "") -> Request:  # noqa: A002
        return Request(tuple(self.model.vocabulary.tokenize(prompt)), params, seed, id)

    def events(self, prompt: str, params: SamplingParams = GREEDY, seed: int = 1) -> list[Event]:
        return list(self.engine.stream(self.request(prompt, params, seed)))

    def text(self, prompt: str, params: SamplingParams = GREEDY, seed: int = 1) -> str:
        return text_of(self.events(prompt, params, seed))

    def end(self, prompt: str, params: SamplingParams = GREEDY, seed: int = 1) -> FinishEvent:
        return finish_of(self.events(prompt, params, seed))


@pytest.fixture
def start(llama: Path) -> Iterator[Opener]:
    """Start an engine: `start(path, n_ctx=…, n_slots=…, n_batch=…, n_cells=…, …)`."""
    with ExitStack() as stack:

        def opener(path: Path = llama, **options: int) -> Runner:
            return Runner(stack, path, **options)  # type: ignore[arg-type]  # bool is an int

        yield opener


@pytest.fixture(scope="module")
def bpe(models: Path) -> Path:
    return ggufs.write(models / "bpe-model.gguf", vocab="bpe")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_answers(
    kind: str, start: Opener, request: pytest.FixtureRequest
) -> None:
    """Load, answer, and the same again: greedy decoding has no chance in it."""
    runner = start(request.getfixturevalue(kind))
    end = runner.end("hello")
    assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, 12)
    texts = {runner.text("hello", seed=seed) for seed in (1, 2)}
    assert len(texts) == 1
    assert texts != {runner.text("the world")}


def test_a_seed_decides_the_text(start: Opener) -> None:
    """The same seed gives the same text, in this process and in the next context; others differ."""
    params = SamplingParams(temperature=1.5, top_k=0, max_tokens=12, ignore_eos=True)
    runner, other = start(), start()
    texts = [runner.text("hello", params, seed) for seed in (0, 1, 2, 2**32 - 2)]
    assert len(set(texts)) == 4
    assert [other.text("hello", params, seed) for seed in (0, 1, 2, 2**32 - 2)] == texts


def test_a_long_prompt_in_chunks_is_the_same_prompt(start: Opener) -> None:
    """3000 tokens: cut into two batches or into thirty, or computed beside another."""
    words = "once upon a time there was a little world " * 250
    prompt = words[: len(words) - 6]
    results = set()
    for n_batch in (2048, 100):
        runner = start(n_ctx=4096, n_batch=n_batch)
        assert runner.end(prompt).usage.prompt_tokens > 2048
        results.add(runner.text(prompt))
    assert len(results) == 1
    assert start().text("hello") not in results


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_sequences_side_by_side_answer_as_if_alone(
    kind: str, start: Opener, request: pytest.FixtureRequest
) -> None:
    """Six requests over three slots, with prompts cut by a small batch."""
    path = request.getfixturevalue(kind)
    prompts = ["hello", "the world", "once upon a time", "say it", "a", "you are little"]
    alone = [start(path).text(prompt) for prompt in prompts]
    runner = start(path, n_slots=3, n_batch=5)
    for number, prompt in enumerate(prompts):
        runner.engine.add(runner.request(prompt, GREEDY, id=str(number)))
    events: list[Event] = []
    while runner.engine.scheduler.has_work:
        events += runner.engine.step()
    together = [
        text_of(event for event in events if event.request_id == str(number))
        for number in range(len(prompts))
    ]
    assert together == alone


def together(runner: Runner, prompts: list[str], params: SamplingParams) -> dict[str, list[Event]]:
    """The events of each prompt when all run side by side."""
    for number, prompt in enumerate(prompts):
        runner.engine.add(runner.request(prompt, params, id=str(number)))
    events: dict[str, list[Event]] = {str(number): [] for number in range(len(prompts))}
    while runner.engine.scheduler.has_work:
        for event in runner.engine.step():
            events[event.request_id].append(event)
        runner.engine.scheduler.check_integrity()
    return events


Rows = dict[str, list[tuple[int, list[float]]]]


def recorded(runner: Runner) -> Rows:
    """What each request will be given to sample from: every token that was chosen, and its row."""
    context, rows = runner.context, defaultdict(list)
    following, n_vocab = context._samplers._next, runner.model.vocabulary.n_tokens

    def record(place: tuple[Sequence, int]) -> int:
        sequence, row = place
        logits = context._lib.llama_get_logits_ith(context._native, row)[:n_vocab]
        token = following(place)
        rows[sequence.request.id].append((token, logits))
        return token

    context._samplers._next = record  # type: ignore[method-assign]
    return rows


def computed(runner: Runner) -> list[int]:
    """Tokens of each batch that will be computed."""
    sizes, decode = [], runner.context.decode

    def count(plan: Plan) -> list[int]:
        tokens = decode(plan)
        sizes.append(plan.n_tokens)
        return tokens

    runner.context.decode = count  # type: ignore[method-assign]
    return sizes


def differences(alone: Rows, other: Rows) -> list[float]:
    """The largest difference of every two rows, as far as the same tokens stand before them."""
    found = []
    for name, rows in alone.items():
        for (token, logits), (other_token, other_logits) in zip(rows, other[name], strict=True):
            found.append(max(map(abs, map(operator.sub, logits, other_logits))))
            if token != other_token:
                break
    return found


SYSTEM = "once upon a time there was a little world and you are in it " * 4
DOCUMENTS = ["the sun is up " * 9, "say hello to all of them " * 6]
QUESTIONS = ["why", "who is it", "what now", "when", "where", "how is that"]
PROMPTS = [f"{SYSTEM}{text}{question}" for question in QUESTIONS for text in DOCUMENTS]


@pytest.fixture(scope="module")
def alone(llama: Path) -> Rows:
    """What each of the prompts is answered with by an engine that knows no other."""
    rows: Rows = {}
    for number, prompt in enumerate(PROMPTS):
        with ExitStack() as stack:
            runner = Runner(stack, llama)
            found = recorded(runner)
            list(runner.engine.stream(runner.request(prompt, LONGER, id=str(number))))
            rows |= found
    return rows


@pytest.mark.parametrize(("n_cells", "full"), [(256, True), (4 * 256, False)])
def test_shared_prefixes_and_a_full_cache_change_no_answer(
    start: Opener, alone: Rows, n_cells: int, full: bool
) -> None:
    """Prefixes of prefixes, and so few cells that sequences are computed twice.

    The model is given the same logits but for rounding: a prompt that is cut elsewhere is added up
    in another order, and of two tokens that are equally likely within that the other one may win.
    """
    runner = start(n_slots=4, n_batch=64, n_cells=n_cells)
    rows, sizes = recorded(runner), computed(runner)
    usages = [finish_of(each).usage for each in together(runner, PROMPTS, LONGER).values()]
    found = differences(alone, rows)
    assert max(found) < ROUNDING
    assert len(found) > len(PROMPTS) * 40 / 2
    # A prefix that is not the right one makes thirty times the difference, or a hundred.
    assert max(differences(alone, {**rows, "0": rows["1"]})) > 10 * ROUNDING
    n_cached = sum(usage.cached_tokens for usage in usages)
    n_prompts = sum(usage.prompt_tokens for usage in usages)
    assert n_cached > n_prompts / 2
    needed = n_prompts - n_cached + sum(usage.completion_tokens - 1 for usage in usages)
    assert (sum(sizes) > needed) == full


@pytest.mark.parametrize("n_cells", [256, 3 * 256])
def test_without_shared_prefixes_slots_do_not_touch_each_other(
    start: Opener, alone: Rows, n_cells: int
) -> None:
    """As with a model that keeps a state; every prompt is computed as a whole."""
    runner = start(n_slots=3, n_batch=100, n_cells=n_cells, share=False)
    rows = recorded(runner)
    events = together(runner, PROMPTS, LONGER)
    found = differences(alone, rows)
    assert max(found) < ROUNDING
    assert len(found) > len(PROMPTS) * 40 / 2
    assert {finish_of(each).usage.cached_tokens for each in events.values()} == {0}


def test_threads_that_sample_choose_the_same_tokens(
    start: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row with its own sampler, so that it does not matter who does which."""
    hot = SamplingParams(temperature=1.5, top_k=0, max_tokens=12, repeat_penalty=1.1)
    results = []
    for worth in (2**20, 0):
        monkeypatch.setattr("lokal.engine.samplers.WORTH_THREADS", worth)
        runner = start(n_slots=5, n_batch=64, n_threads=2)
        # Two that compute wait for each other busily; here only sampling is looked at.
        runner.context._lib.llama_set_n_threads(runner.context._native, 1, 1)
        threads: set[str] = set()
        following = runner.context._samplers._next

        def named(place: tuple[Sequence, int], following: Any = following) -> int:
            threads.add(threading.current_thread().name.partition("_")[0])  # noqa: B023
            return following(place)

        runner.context._samplers._next = named  # type: ignore[method-assign]
        rows = recorded(runner)
        texts = {key: text_of(each) for key, each in together(runner, PROMPTS, hot).items()}
        results.append((texts, {key: [token for token, _ in each] for key, each in rows.items()}))
        assert threads == ({"MainThread"} if worth else {"sampler"})
    assert results[0] == results[1]
    assert len(set(results[0][0].values())) == len(PROMPTS)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize(("n_ctx", "n_parallel"), [(2, 2), (2, 100), (7, 5), (300, 3)])
def test_a_small_context_has_a_cell_for_every_slot(
    llama: Path, monkeypatch: pytest.MonkeyPatch, n_ctx: int, n_parallel: int, shares: bool
) -> None:
    """llama.cpp would abort; and a sequence of the whole context fits."""
    monkeypatch.setattr("lokal.planning.keeps_state", lambda _: not shares)
    weights = Weights("x", llama, check(llama), None)
    options = LoadOptions(n_ctx, parallel=n_parallel)
    shape = plan(weights, options, Machine(None)).shape
    assert shape.n_parallel <= shape.n_slots <= shape.n_cells
    assert shape.n_ctx <= shape.n_cells
    with ExitStack() as stack:
        model = LlamaModel(llama, Interrupt())
        stack.callback(model.close)
        context = LlamaContext(model, Interrupt(), shape, n_threads=1)
        stack.callback(context.close)
        running = Engine(context, Scheduler(model.vocabulary, context.shape))
        for number in range(3):
            running.add(Request((1,) * (n_ctx - 1), GREEDY, 1, str(number)))
        events: list[Event] = []
        while running.scheduler.has_work:
            events += running.step()
        assert {e.usage.completion_tokens for e in events if isinstance(e, FinishEvent)} == {2}


def test_a_load_is_logged_whoever_else_has_taken_the_log(llama: Path) -> None:
    """What failed, and what memory was taken, is read off it."""
    lib, _ = native_library()
    theirs = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(theirs, None)
    model = LlamaModel(llama, Interrupt())
    model.close()
    assert model.buffers


def test_an_interrupted_batch_of_many_goes_on(start: Opener) -> None:
    """What was computed of it is taken back, and of the prefixes nothing is lost."""
    prompts = [f"{'hello world ' * 60}{word}" for word in ("one", "two", "little", "time")]
    expected = {key: text_of(e) for key, e in together(start(n_slots=4), prompts, GREEDY).items()}
    runner = start(n_slots=4, n_batch=50)
    for number, prompt in enumerate(prompts):
        runner.engine.add(runner.request(prompt, GREEDY, id=str(number)))
    texts = dict.fromkeys(expected, "")
    steps = 0
    while runner.engine.scheduler.has_work:
        steps += 1
        if steps % 3:
            runner.interrupt.looks = 7
        with suppress(KeyboardInterrupt):
            for event in runner.engine.step():
                if isinstance(event, TextEvent):
                    texts[event.request_id] += event.text
        runner.interrupt.looks = 0
        runner.interrupt.requested = False
        runner.engine.scheduler.check_integrity()
    assert texts == expected


def test_the_context_ends_an_answer(start: Opener) -> None:
    """A context of any size is used to its last token, multiple of 256 or not."""
    for n_ctx in (2, 3, 100, 257):
        runner = start(n_ctx=n_ctx)
        end = runner.end("", SamplingParams(temperature=0, ignore_eos=True))
        assert end.usage.prompt_tokens == 1
        assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, n_ctx)


def test_a_context_beyond_the_trained_one_works(start: Opener, mixtral: Path) -> None:
    """llama.cpp warns in its log and goes on."""
    runner = start(mixtral, n_ctx=1000)  # it was "trained" for 512
    assert runner.end("the " * 600).usage.prompt_tokens > 512


def test_ignore_eos_never_ends_early(start: Opener) -> None:
    """With it an answer has all its tokens; without it this model ends by itself."""
    runner = start(n_ctx=4096)
    hot = {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 1500}
    end = runner.end("a", SamplingParams(**hot, ignore_eos=True))
    assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, 1500)
    ends = [runner.end("a", SamplingParams(**hot), seed) for seed in range(3)]
    assert FinishReason.STOP in {end.reason for end in ends}


def test_stop_texts_end_an_answer(start: Opener) -> None:
    """The answer goes up to the stop text, wherever the model's tokens cut it."""
    runner = start()
    text = runner.text("hello")
    for at in range(1, len(text) - 2):
        stop = text[at : at + 2]
        params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop=(stop,))
        events = runner.events("hello", params)
        assert text_of(events) == text[: text.index(stop)]
        assert finish_of(events).reason is FinishReason.STOP


def test_a_repeat_penalty_changes_the_answer(start: Opener) -> None:
    """It counts the prompt's tokens too: the next token is not one of them."""
    runner = start()
    first = runner.text("hello", SamplingParams(temperature=0, max_tokens=1, ignore_eos=True))
    params = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, repeat_penalty=100)
    assert runner.text(f"hello{first}", params) != first


def test_a_repeat_penalty_counts_what_was_put_in(start: Opener) -> None:
    """Reasoning that is closed for the model is answered like the same tokens in a prompt."""
    runner = start()
    prompt = tuple(runner.model.vocabulary.tokenize("hello"))
    plain = recorded(runner)
    list(runner.engine.stream(Request(prompt, GREEDY, 1, "plain")))
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, repeat_penalty=100)
    # The tokens that this model likes best.
    closing = tuple({token for token, _ in plain["plain"]})
    reasoning = Reasoning(Tags("<", ">"), prompt="<", closing=closing)
    for budget in (0, 2):
        rows = recorded(runner)
        closed = replace(params, reasoning_budget=budget)
        list(runner.engine.stream(Request(prompt, closed, 1, "closed", reasoning=reasoning)))
        tokens = [token for token, _ in rows["closed"]]
        same = prompt + tuple(tokens[:budget]) + closing
        list(runner.engine.stream(Request(same, params, 1, "same")))
        expected = [token for token, _ in rows["same"]]
        assert tokens[budget:] == expected[: len(tokens) - budget]
        assert len(tokens) > 20


PARAMS = st.builds(
    SamplingParams,
    temperature=st.floats(0, 100) | st.sampled_from([0.0, 5e-324, 1e-45, 1e-38, 100.0]),
    top_k=st.sampled_from([0, 1, 2, 40, 10**6, 2**31 - 1]),
    top_p=st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-45]),
    min_p=st.floats(0, 1) | st.sampled_from([0.0, 1.0]),
    repeat_penalty=st.floats(0.01, 100),
    max_tokens=st.just(3),
    ignore_eos=st.booleans(),
)


def test_no_sampling_parameters_abort(start: Opener) -> None:
    """Whatever is in range gives tokens; an abort would take the process down."""
    runner = start()

    @settings(max_examples=60)
    @given(PARAMS, st.integers(0, 2**32 - 2))
    def check(params: SamplingParams, seed: int) -> None:
        assert 1 <= runner.end("hello", params, seed).usage.completion_tokens <= 3

    check()


def test_a_temperature_next_to_nothing_takes_the_likeliest_token(start: Opener) -> None:
    """Divided by it, logits would be infinite, and what is sampled of them means nothing."""
    runner = start()
    plain = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 8, "ignore_eos": True}
    cold = SamplingParams(temperature=1e-45, **plain)
    greedy = SamplingParams(temperature=0, **plain)
    assert text_of(runner.events("hello", cold)) == text_of(runner.events("hello", greedy))


def test_weights_that_are_no_numbers_are_refused(
    start: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that computes NaN would write nonsense; greedy or not, it is an error."""
    monkeypatch.setattr(ggufs, "quantize", lambda data, _kind: (data * float("nan")).astype("f2"))
    runner = start(ggufs.write(tmp_path / "nan.gguf"))
    for params in (GREEDY, SamplingParams(max_tokens=3, repeat_penalty=1.1)):
        with pytest.raises(DamagedFileError, match="NaN"):
            runner.end("hello", params)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    """The message has llama.cpp's word on it, the hint a way out."""
    path = ggufs.write(tmp_path / "x.gguf", "martian")
    with pytest.raises(ArchitectureError, match="martian") as caught:
        LlamaModel(path, Interrupt())
    assert "llama-cpp-python" in caught.value.hint


def test_a_file_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    """Asking it for tokens would abort the process."""
    with pytest.raises(LoadError, match="no vocabulary"):
        LlamaModel(ggufs.write(tmp_path / "bare.gguf", vocab=None), Interrupt())


def test_a_missing_tensor_is_llama_cpp_s_to_report(tmp_path: Path) -> None:
    """Our message carries the first of its complaints."""
    path = ggufs.write(tmp_path / "x.gguf", "mixtral-2023")
    with pytest.raises(LoadError, match=r"blk.0.ffn_down_exps.weight"):
        LlamaModel(path, Interrupt())


def test_threads_out_of_range_are_refused(llama: Path) -> None:
    """Too many are a broken precondition in native code."""
    model = LlamaModel(llama, Interrupt())
    for count in (0, -1, 513):
        with pytest.raises(UsageError, match="threads"):
            LlamaContext(model, Interrupt(), Shape(1, 1, 64, 64, 64), n_threads=count)
    model.close()


def test_closing_twice_is_fine_and_using_after_it_is_an_error(start: Opener) -> None:
    """Native code would read freed memory."""
    runner = start()
    stream = runner.engine.stream(runner.request("hello", GREEDY))
    next(stream)
    for _ in range(2):
        runner.context.close()
        runner.model.close()
    with pytest.raises(ValueError, match="closed"):
        list(stream)


def test_ctrl_c_while_loading(llama: Path) -> None:
    """A request to stop that came before or while the file loads ends it."""
    interrupt = Interrupt()
    interrupt.request()
    with pytest.raises(KeyboardInterrupt):
        LlamaModel(llama, interrupt)
    LlamaModel(llama, interrupt).close()


def test_ctrl_c_between_tokens(start: Opener) -> None:
    """It ends the answer at the next token, and the engine answers again."""
    runner = start()
    stream = runner.engine.stream(runner.request("hello", GREEDY))
    events = [next(stream)]
    runner.interrupt.request()
    with pytest.raises(KeyboardInterrupt):
        events.extend(stream)
    assert finish_of(events).reason is FinishReason.ABORTED
    assert runner.end("hello").reason is FinishReason.LENGTH


@pytest.mark.parametrize("looks", [3, 30, 60, 100])
def test_a_batch_that_was_interrupted_can_be_computed_again(start: Opener, looks: int) -> None:
    """A part of it may be in the KV cache already; that part is taken back."""
    prompt = "hello world " * 700
    expected = start(n_ctx=2048).text(prompt)
    runner = start(n_ctx=2048)
    runner.engine.add(runner.request(prompt, GREEDY))
    runner.interrupt.looks = looks
    with pytest.raises(KeyboardInterrupt):
        runner.engine.step()
    events: list[Event] = []
    while runner.engine.scheduler.has_work:
        events += runner.engine.step()
    assert text_of(events) == expected


def test_a_batch_that_llama_cpp_refuses_can_be_replaced(start: Opener) -> None:
    """A token that no vocabulary has is an error, and the next request is answered."""
    runner = start()
    expected = runner.text("hello")
    with pytest.raises(RuntimeError, match="invalid token"):
        list(runner.engine.stream(Request((1, 10**6), GREEDY, 1)))
    assert runner.text("hello") == expected


def test_the_native_log_is_kept_and_not_shown(
    llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing reaches the terminal; who asks gets the lines."""
    LlamaModel(llama, Interrupt()).close()
    lines: list[str] = []
    with native_log(lines.append):
        LlamaModel(llama, Interrupt()).close()
    assert any("general.architecture" in line for line in lines)
    count = len(lines)
    LlamaModel(llama, Interrupt()).close()
    assert len(lines) == count
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("lines", "error", "hint"),
    [
        (
            [
                "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 6.21 MiB on device 0:"
                " cudaMalloc failed: out of memory",
                "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
            ],
            AllocationError,
            "smaller quantization",
        ),
        (
            [
                "ggml_aligned_malloc: insufficient memory (attempted to allocate 6.21 MB)",
                "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 6",
                "llama_model_load: error loading model: unable to allocate CPU buffer",
            ],
            AllocationError,
            "smaller quantization",
        ),
        (
            [
                "llama_model_load: error loading model: device Vulkan0 does not support split"
                " buffers"
            ],
            UsageError,
            "--split layer",
        ),
        (["llama_model_load: error loading model: missing tensor"], LoadError, "damaged"),
    ],
)
def test_why_weights_are_not_loaded_is_read_off_the_whole_log(
    llama: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    error: type[LokalError],
    hint: str,
) -> None:
    """A device complains in its own words before llama.cpp says that there was no memory."""
    lib, log = _native()

    def refuse(*_: object) -> None:
        for line in lines:
            log(log.ERROR, line.encode(), None)

    monkeypatch.setattr(lib, "llama_model_load_from_file", refuse)
    with pytest.raises(error) as caught:
        LlamaModel(llama, Interrupt())
    assert caught.type is error
    assert lines[0].rpartition("error loading model: ")[2] in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "llama_init_from_model: failed to initialize the context: std::bad_alloc",
            AllocationError,
        ),
        ("alloc_tensor_range: failed to allocate CUDA0 buffer of size 134217728", AllocationError),
        ("llama_init_from_model: quantized V cache requires flash_attn to be enabled", LoadError),
    ],
)
def test_a_context_is_refused_in_llama_cpps_words(
    llama: Path, monkeypatch: pytest.MonkeyPatch, line: str, error: type[LokalError]
) -> None:
    """Only where memory was refused is it a matter of memory."""
    lib, log = _native()
    monkeypatch.setattr(
        lib, "llama_init_from_model", lambda *_: log(log.ERROR, line.encode(), None)
    )
    model = LlamaModel(llama, Interrupt())
    try:
        with pytest.raises(error) as caught:
            LlamaContext(model, Interrupt(), Shape(1, 1, 64, 64, 64), n_threads=1)
    finally:
        model.close()
    assert caught.type is error
    assert line in caught.value.message
