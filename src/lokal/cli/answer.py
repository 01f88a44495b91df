"""What `llm run` does once the command line is understood."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lokal import settings
from lokal.cli.aside import Aside
from lokal.cli.ending import exit_code, statistics
from lokal.cli.fetch import fetched
from lokal.cli.grammar_options import check_end
from lokal.cli.made import made_with
from lokal.cli.output import Sink, note, open_sink, write_json
from lokal.cli.prompt_input import PromptSource
from lokal.cli.reply import follow
from lokal.completion import Completion
from lokal.conversation import Conversation, conversation
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel, native_log
from lokal.engine.prompt import Prompt, PromptFormat, PromptOptions
from lokal.engine.request import MAX_SEED, FinishReason, Request, SamplingParams, check_seed
from lokal.engine.scheduler import check_length
from lokal.errors import UsageError
from lokal.loading import LoadOptions, check_adapters
from lokal.model import Model
from lokal.planning import machine, plan
from lokal.requests import check_budget
from lokal.result import Origin, as_dict, fingerprint
from lokal.settings import Settings, expand
from lokal.weights import Weights, find, local_path

if TYPE_CHECKING:
    from lokal.engine.constraint import Grammar


class RunOptions(NamedTuple):
    """What `llm run` was asked for; `sampling` holds only what the user set.

    `talk` is what was said before the prompt. `template` is the text of a chat
    template of the user's.
    """

    model: str
    prompt: PromptSource
    talk: Conversation
    system: str | None
    template: str | None
    sampling: dict[str, Any]
    logit_bias: tuple[tuple[str, float], ...]
    seed: int | None
    completions: int
    grammar: Grammar | None
    load: LoadOptions
    form: PromptOptions
    truncate: bool
    fail_on_length: bool
    output: str | None
    json: bool
    quiet: bool
    verbose: int
    dry_run: bool
    offline: bool

    def say(self, text: str) -> None:
        """A line for people, unless they want none."""
        if not self.quiet:
            note(text)


def execute(options: RunOptions) -> int:
    """Read, load, answer, report; returns the exit code."""
    # What the user got wrong is said before anything is fetched or loaded.
    SamplingParams(**options.sampling)
    check_end(options.grammar, options.sampling)
    if options.seed is not None:
        check_seed(options.seed)
        check_seed(options.seed + options.completions - 1)
    if options.sampling.get("logprobs") is not None and not options.json:
        raise UsageError("--logprobs are part of the JSON", hint="add --json")
    _refuse_overwriting(options.output)
    surroundings = settings.load(offline=options.offline)
    source = find(options.model, surroundings)
    options = _with_prompt(options)
    if options.dry_run and local_path(source, surroundings) is None:
        raise UsageError(
            f"{source.name} is not on this machine, and a dry run fetches nothing",
            hint="without --dry-run it is fetched",
        )
    weights = fetched(source, surroundings, options)
    log = native_log(note) if options.verbose > 1 else contextlib.nullcontext()
    with log:
        if options.dry_run:
            return _show(options, weights)
        return _answer(options, weights, surroundings)


def _with_prompt(options: RunOptions) -> RunOptions:
    """The options with the whole conversation: from a file, typed, and piped."""
    talk = options.talk
    prompt = options.prompt.read(options.say, needed=not talk.messages)
    asked = [{"role": "user", "content": prompt}] if prompt else []
    messages = conversation([*talk.messages, *asked], options.system)
    return options._replace(
        talk=Conversation(messages, talk.tools),
        form=options.form._replace(tools=tuple(talk.tools)),
    )


def _prompt(options: RunOptions, format_: PromptFormat, n_ctx: int) -> Prompt:
    """The prompt; under --truncate cut so that an answer has room."""
    messages = options.talk.messages
    if options.truncate:
        room = max(1, min(options.sampling.get("max_tokens", n_ctx // 4), n_ctx // 2))
        prompt = format_.fit(messages, n_ctx - room)
    else:
        prompt = format_.build(messages)
    if not prompt.tools_shown:
        options.say("note: nothing in the prompt shows the tools; the model does not know of them")
    if prompt.n_dropped and len(prompt.tokens) < n_ctx:
        options.say(f"note: cut {prompt.n_dropped} characters off the front of the prompt")
    return prompt


def _show(options: RunOptions, weights: Weights) -> int:
    """A dry run; loads the vocabulary only."""
    from lokal.cli import dry_run
    from lokal.engine.logit_bias import resolve_logit_bias

    planned = plan(weights, options.load, machine(options.load))
    context = planned.context
    check_adapters(weights, options.load.lora)
    model = LlamaModel(weights.path, Interrupt(), vocab_only=True)
    try:
        format_ = PromptFormat.of(
            model.vocabulary, weights.template, options.form, weights.reasoning
        )
        prompt = _prompt(options, format_, context.n_ctx)
        bias = resolve_logit_bias(options.logit_bias, model.vocabulary)
        params = replace(weights.sampling, **options.sampling, logit_bias=bias)
    finally:
        model.close()
    if context.note:
        options.say(f"note: {context.note}")
    in_force = {
        "model": weights.name,
        "path": str(weights.path),
        "ctx": context.n_ctx,
        "threads": options.load.native_threads(),
        "device": planned.placement.description,
        "memory": planned.memory,
        "seed": options.seed,
        "grammar": options.grammar.kind if options.grammar else None,
    }
    dry_run.show(prompt, in_force, params, output=options.output, as_json=options.json)
    check_budget(prompt, params)
    check_length(len(prompt.tokens), context.n_ctx)
    return 0


def _answer(options: RunOptions, weights: Weights, surroundings: Settings) -> int:
    interrupt = Interrupt()
    with Model(weights, options.load, interrupt) as model:
        for line in model.notes:
            options.say(f"note: {line}")
        if options.verbose:
            note(model.description)
        requests = _requests(options, model)
        alone = len(requests) == 1
        aside = Aside(shown=alone and not options.quiet, color=not surroundings.no_color)
        gc.freeze()  # what a start left behind stays, so that no collection scans it
        gc.enable()
        with open_sink(options.output) as sink:
            with interrupt.listening():
                answers = _written(options, model, requests, sink, aside, interrupt)
            if options.json and not (alone and answers[0].error):
                origin = _origin(options, model, requests[0], surroundings)
                results = [as_dict(answer, origin) for answer in answers]
                write_json(results[0] if alone else results, sink)
    if options.verbose:
        for answer in answers:
            note(statistics(answer, model.load_seconds))
    return exit_code(
        answers,
        max_tokens=options.sampling.get("max_tokens"),
        n_ctx=model.context.n_ctx,
        fail_on_length=options.fail_on_length,
        say=options.say,
    )


def _refuse_overwriting(output: str | None) -> None:
    """Emptying weights that are mapped into memory ends the process; others are a loss too."""
    if not output or not expand(output).is_file():
        return
    with contextlib.suppress(OSError), expand(output).open("rb") as file:
        if file.read(4) == b"GGUF":
            raise UsageError(f"{output} is a model", hint="choose another file with -o")


def _requests(options: RunOptions, model: Model) -> list[Request]:
    """One for each answer; their seeds count up from the first one's."""
    prompt = _prompt(options, model.format(options.form), model.context.n_ctx)
    params = model.sampling(**options.sampling, logit_bias=model.logit_bias(options.logit_bias))
    first = model.request(prompt, params, options.seed, options.grammar)
    seeds = [(first.seed + n) % (MAX_SEED + 1) for n in range(1, options.completions)]
    return [first, *(model.request(prompt, params, seed, options.grammar) for seed in seeds)]


def _written(
    options: RunOptions,
    model: Model,
    requests: Sequence[Request],
    sink: Sink,
    aside: Aside,
    interrupt: Interrupt,
) -> list[Completion]:
    """Write one answer after another; after Ctrl-C what there is of each."""
    n = len(requests)
    write: Callable[[str], object] = (lambda _: None) if options.json else sink.write
    # For people; programs count lines, or use JSON.
    numbered = n > 1 and not options.json and sys.stderr and sys.stderr.isatty()
    answers: list[Completion] = []
    for request, events in zip(requests, model.side_by_side(requests), strict=True):
        if numbered:
            options.say(f"-- {len(answers) + 1} of {n}")
        answers.append(follow(request, events, write, aside).answer)
        if not options.json:
            sink.end()
        if any(answer.finish_reason is FinishReason.ABORTED for answer in answers):
            interrupt.request()  # no more is computed; what is there comes out
    interrupt.requested = False
    return answers


def _origin(options: RunOptions, model: Model, request: Request, surroundings: Settings) -> Origin:
    weights = model.weights
    made = made_with(
        weights,
        options.load,
        request.params,
        form=options.form,
        system=options.system,
        grammar=options.grammar,
        surroundings=surroundings,
    )
    digest = f"sha256:{weights.sha256(surroundings)}"
    return Origin(weights.name, digest, fingerprint(made), model.load_seconds)
