"""What `llm run` does once the command line is understood."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lokal import settings
from lokal.cli.fetch import fetched
from lokal.cli.grammar_options import check_end
from lokal.cli.output import (
    Sink,
    note,
    open_sink,
    plain,
    show_error,
    write_json,
)
from lokal.cli.prompt_input import PromptSource, check_text
from lokal.completion import Completion, completion
from lokal.conversation import conversation
from lokal.engine.chat import Message
from lokal.engine.detokenizer import printable
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel, native_log
from lokal.engine.prompt import Prompt, PromptFormat, PromptOptions
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Request,
    SamplingParams,
    TextEvent,
    check_seed,
)
from lokal.engine.scheduler import check_length
from lokal.errors import LengthError, UsageError
from lokal.loading import LoadOptions, choose_context, lora_settings
from lokal.model import Model
from lokal.result import Origin, as_dict, fingerprint, settings_of
from lokal.settings import Settings, expand
from lokal.weights import Weights, find, local_path

if TYPE_CHECKING:
    from lokal.engine.constraint import Grammar


class RunOptions(NamedTuple):
    """What `llm run` was asked for; `sampling` holds only what the user set."""

    model: str
    prompt: PromptSource
    system: str | None
    sampling: dict[str, Any]
    seed: int | None
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
    options.load.check()
    if options.seed is not None:
        check_seed(options.seed)
    check_text(options.system or "", "the system message")
    _refuse_overwriting(options.output)
    surroundings = settings.load(offline=options.offline)
    source = find(options.model, surroundings)
    messages = conversation(options.prompt.read(options.say), options.system)
    if options.dry_run and local_path(source, surroundings) is None:
        raise UsageError(
            f"{source.name} is not on this machine, and a dry run fetches nothing",
            hint="without --dry-run it is fetched",
        )
    weights = fetched(source, surroundings, ctx=options.load.ctx, quiet=options.quiet)
    if not options.form.raw and weights.template is None:
        options.say(f"note: {weights.name} has no chat template, it completes the text as it is")
    log = native_log(note) if options.verbose > 1 else contextlib.nullcontext()
    with log:
        if options.dry_run:
            return _show(options, weights, messages)
        return _answer(options, weights, messages, surroundings)


def _prompt(
    options: RunOptions, format_: PromptFormat, messages: Sequence[Message], n_ctx: int
) -> Prompt:
    """The prompt; under --truncate cut so that an answer has room."""
    if options.truncate:
        room = max(1, min(options.sampling.get("max_tokens", n_ctx // 4), n_ctx // 2))
        prompt = format_.fit(messages, n_ctx - room)
    else:
        prompt = format_.build(messages)
    if prompt.n_dropped:
        options.say(f"note: cut {prompt.n_dropped} characters off the front of the prompt")
    return prompt


def _show(options: RunOptions, weights: Weights, messages: Sequence[Message]) -> int:
    """The rendered prompt and the settings in force; loads the vocabulary only."""
    context = choose_context(weights, options.load)
    model = LlamaModel(weights.path, Interrupt(), vocab_only=True)
    try:
        format_ = PromptFormat.of(
            model.vocabulary, weights.template, options.form, weights.reasoning
        )
        prompt = _prompt(options, format_, messages, context.n_ctx)
    finally:
        model.close()
    if context.note:
        options.say(f"note: {context.note}")
    result = {
        "model": weights.name,
        "path": str(weights.path),
        "ctx": context.n_ctx,
        "threads": options.load.native_threads(),
        "gpu_layers": options.load.gpu_layers,
        "prompt_tokens": len(prompt.tokens),
        "seed": options.seed,
        "grammar": options.grammar.kind if options.grammar else None,
        **asdict(replace(weights.sampling, **options.sampling)),
    }
    with open_sink(options.output) as sink:
        if options.json:
            write_json({**result, "prompt": printable(prompt.text)}, sink)
        else:
            lines = [*(f"{name:<15} {plain(value)}" for name, value in result.items()), ""]
            sink.write("\n".join([*lines, prompt.text]))
            sink.end()
    check_length(len(prompt.tokens), context.n_ctx)
    return 0


def _answer(
    options: RunOptions, weights: Weights, messages: Sequence[Message], surroundings: Settings
) -> int:
    interrupt = Interrupt()
    with Model(weights, options.load, interrupt) as model:
        if model.context.note:
            options.say(f"note: {model.context.note}")
        prompt = _prompt(options, model.format(options.form), messages, model.context.n_ctx)
        params = model.sampling(**options.sampling)
        request = model.request(prompt, params, options.seed, options.grammar)
        gc.freeze()  # what a start left behind stays, so that no collection scans it
        gc.enable()
        with open_sink(options.output) as sink:
            with interrupt.listening():
                answer = _stream(options, model, request, sink)
            if options.json and not answer.error:
                origin = _origin(options, model, request, surroundings)
                write_json(as_dict(answer, origin), sink)
    if options.verbose:
        note(_statistics(model, answer))
    return _exit_code(options, model, answer)


def _refuse_overwriting(output: str | None) -> None:
    """Emptying weights that are mapped into memory ends the process; others are a loss too."""
    if not output or not expand(output).is_file():
        return
    with contextlib.suppress(OSError), expand(output).open("rb") as file:
        if file.read(4) == b"GGUF":
            raise UsageError(f"{output} is a model", hint="choose another file with -o")


def _stream(options: RunOptions, model: Model, request: Request, sink: Sink) -> Completion:
    """Write the answer as it comes; Ctrl-C ends it and keeps what was written."""
    events: list[Event] = []
    try:
        for event in model.events(request):
            events.append(event)
            if isinstance(event, TextEvent) and not (event.reasoning or options.json):
                sink.write(event.text)
    except KeyboardInterrupt:
        if not (events and isinstance(events[-1], FinishEvent)):
            raise  # a second Ctrl-C, in the middle of our own work
    if not options.json:
        sink.end()
    return completion(request, events)


def _origin(options: RunOptions, model: Model, request: Request, surroundings: Settings) -> Origin:
    weights = model.weights
    made_with = settings_of(
        request.params,
        chat_template=None if options.form.raw else weights.template,
        system=options.system,
        ctx=options.load.ctx or weights.context_limit,
        grammar=options.grammar,
        lora=lora_settings(options.load.lora, surroundings),
    )
    digest = f"sha256:{weights.sha256(surroundings)}"
    return Origin(weights.name, digest, fingerprint(made_with), model.load_seconds)


def _statistics(model: Model, answer: Completion) -> str:
    usage, timings = answer.usage, answer.timings
    # The first token comes out of the prompt's own computation.
    after_first = max(0, usage.completion_tokens - 1)
    return (
        f"load {model.load_seconds:.2f} s"
        f" · prompt {usage.prompt_tokens} tokens in {timings.prompt:.2f} s"
        f" ({usage.prompt_tokens / max(timings.prompt, 1e-9):.1f}/s)"
        f" · generated {usage.completion_tokens} tokens in {timings.generate:.2f} s"
        f" ({after_first / max(timings.generate, 1e-9):.1f}/s)"
        f" · {answer.finish_reason}"
    )


def _exit_code(options: RunOptions, model: Model, answer: Completion) -> int:
    if answer.finish_reason is FinishReason.ABORTED:
        raise KeyboardInterrupt
    if answer.error:
        raise answer.error
    if answer.finish_reason is not FinishReason.LENGTH:
        return 0
    if answer.usage.completion_tokens == options.sampling.get("max_tokens"):
        why, hint = f"the limit of {answer.usage.completion_tokens} tokens", "-n raises it"
    else:
        why, hint = f"the end of the context ({model.context.n_ctx} tokens)", "-c raises it"
    if options.fail_on_length:
        error = LengthError(f"the answer was cut at {why}", hint=hint)
        show_error(error, as_json=False)
        return error.exit_code
    options.say(f"note: the answer stopped at {why}; {hint}")
    return 0
