"""A conversation under way: a model, what was said, and what is in force for the next turn."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lokal.cli.aside import Aside
from lokal.cli.ending import cost, limit
from lokal.cli.fetch import fetched
from lokal.cli.output import note, show_error
from lokal.cli.reply import as_written, reply
from lokal.cli.room import dropped
from lokal.cli.terminal import on_ctrl_c, someone_there
from lokal.cli.transcripts import Transcript, remember
from lokal.cli.views import View
from lokal.completion import Completion
from lokal.dialogue import Dialogue
from lokal.engine.chat import Message
from lokal.engine.interrupt import Interrupt
from lokal.engine.prompt import Prompt, PromptOptions
from lokal.engine.request import MAX_SEED, Request, SamplingParams
from lokal.errors import LokalError, UsageError
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.requests import check_budget
from lokal.settings import Settings
from lokal.weights import Weights, find


class ChatOptions(NamedTuple):
    """What `llm chat` was asked for; `sampling` holds only what the user set.

    `template` is the text of a chat template of the user's, for whatever model answers.
    """

    model: str
    system: str | None
    sampling: dict[str, Any]
    seed: int | None
    load: LoadOptions
    form: PromptOptions = PromptOptions()
    template: str | None = None
    logit_bias: tuple[tuple[str, float], ...] = ()
    shift: bool = True
    history: bool = True
    resume: bool = False
    markdown: bool = False
    quiet: bool = False
    verbose: int = 0
    offline: bool = False
    debug: bool = False

    def say(self, text: str) -> None:
        """A line for people, unless they want none."""
        if not self.quiet:
            note(text)


class Session:
    """A model, a conversation with it, and what is in force for the next turn.

    `load` makes models of weights. `sampling`, `form` and `seed` begin as the options have them.
    """

    def __init__(
        self,
        options: ChatOptions,
        surroundings: Settings,
        load: Callable[[Weights], Model],
        weights: Weights,
        view: View,
        interrupt: Interrupt,
    ) -> None:
        self.options = options
        self.surroundings = surroundings
        self.at_terminal = someone_there()
        self.sampling = dict(options.sampling)
        self.form = options.form
        self.logit_bias = options.logit_bias
        self.lost = False
        """Whether there is no model any more, so that nothing can go on."""
        self.attached: list[str] = []
        """Texts of files that go with the next message."""
        self.dialogue = Dialogue(options.system)
        self._load = load
        self._view = view
        self._interrupt = interrupt
        # A script is to leave a person's last conversation alone.
        self._remembers = options.history and (self.at_terminal or options.resume)
        self.seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
        self.model = load(weights)

    @property
    def seed(self) -> int:
        """The next answer's; each has its own, and all follow from the first."""
        return self._seed

    @seed.setter
    def seed(self, value: int) -> None:
        self._seed = value % (MAX_SEED + 1)

    def close(self) -> None:
        """Free the memory."""
        self.model.close()

    def ask(self, text: str, *files: str) -> None:
        """Add a message with files' texts and what is attached, and write the answer.

        Without an answer neither the message is kept nor are these files; what was attached before
        goes with the next message.

        Raises:
            LokalError: it cannot be answered.
            KeyboardInterrupt: Ctrl-C; what was written until then is the answer.
        """
        attached, self.attached = self.attached, []
        self.dialogue.ask("\n\n".join([text, *attached, *files]))

        def take_back() -> None:
            self.dialogue.undo()
            self.attached = attached
            if attached:
                self.options.say("note: the next message has what was read; /undo takes it back")

        with self._answered_or(take_back, "the message is not kept"):
            self._answer()

    def regen(self) -> None:
        """Write another answer to the last message; if there comes none, the old one stays.

        Raises:
            UsageError: there is no message.
            LokalError, KeyboardInterrupt: as from `ask`.
        """
        old = self.dialogue.unanswer()
        if old is None:
            raise UsageError("there is no message yet", hint="write one")
        with self._answered_or(lambda: self.dialogue.restore(old), "the one before stays"):
            self._answer()

    def switch(self, name: str) -> None:
        """Go on with another model; whatever goes wrong, the old one stays, or all is `lost`.

        Raises:
            LokalError: there is no such model, or it cannot be fetched or loaded.
        """
        source = find(name, self.surroundings)
        weights = fetched(source, self.surroundings, self.options)
        old = self.model.weights
        self._interrupt.requested = False
        try:
            self.model.close()  # there may be no memory for two
            self.model = self._load(weights)
        except BaseException as error:
            self._interrupt.requested = False  # as a second Ctrl-C leaves it
            try:
                with on_ctrl_c(signal.SIG_IGN):
                    self.model = self._load(old)
            except LokalError:
                self.lost = True
                if isinstance(error, LokalError):
                    self.tell(error)
                raise
            if isinstance(error, KeyboardInterrupt) and self.at_terminal:
                self.options.say(f"note: stopped while it loaded; {old.name} stays")
            raise
        self._adapt()

    def check(self, form: PromptOptions, sampling: dict[str, Any]) -> None:
        """See that the model can be asked for answers like that.

        Raises:
            UsageError: a value out of range, a token that it lacks, reasoning that it cannot switch
                or has none of.
        """
        params = self._params(sampling)
        if form.think is not None or params.reasoning_budget is not None:
            question = [{"role": "user", "content": "?"}]
            check_budget(self.model.format(form).build(question), params)

    def _adapt(self) -> None:
        """Take back what another model could do and this one cannot, and say so."""
        try:
            self._params({})
        except UsageError as error:
            self.logit_bias = ()
            note(f"note: --logit-bias is taken back: {error.message}")
        try:
            self.check(self.form, {})
        except UsageError as error:
            self.form = self.form._replace(think=None)
            note(f"note: think is taken back: {error.message}")
        try:
            self.check(self.form, self.sampling)
        except UsageError as error:
            self.sampling.pop("reasoning_budget", None)
            note(f"note: reasoning_budget is taken back: {error.message}")

    def _params(self, sampling: dict[str, Any]) -> SamplingParams:
        bias = self.model.logit_bias(self.logit_bias)
        return self.model.sampling(**sampling, logit_bias=bias)

    def resume(self, last: Transcript) -> None:
        """Go on where a conversation ended; a system text of this call's goes over its own."""
        self.dialogue = last.dialogue
        self.dialogue.system = self.options.system or self.dialogue.system
        n, before, now = len(self.dialogue.turns), last.model, self.model.weights.name
        turns = "1 turn" if n == 1 else f"{n} turns"
        who = f" with {before}" if before else ""
        changed = f"; now it is {now} that answers" if before not in (None, now) else ""
        self.options.say(f"note: going on with the last conversation, {turns}{who}{changed}")
        self.tell_waiting()

    def tell_waiting(self) -> None:
        """Say so if a conversation from a file ends with a question."""
        if self.dialogue.waiting:
            self.options.say("note: the last message has no answer; /regen asks for one")

    def tokens(self, messages: Sequence[Message]) -> int:
        """How many the prompt has that these messages make.

        Raises:
            UsageError: the template refuses them.
        """
        return self.model.n_tokens(self.model.format(self.form).build(messages))

    def tell(self, error: LokalError) -> None:
        """Show what went wrong; the conversation goes on."""
        if self.options.debug:
            import traceback

            for line in "".join(traceback.format_exception(error)).splitlines():
                note(line)
        show_error(error, as_json=False)

    @contextlib.contextmanager
    def _answered_or(self, take_back: Callable[[], object], told: str) -> Iterator[None]:
        """A failure that leaves the last message without an answer takes it back."""
        try:
            yield
        except BaseException as error:
            if self.dialogue.waiting:
                take_back()
                if isinstance(error, KeyboardInterrupt) and self.at_terminal:
                    self.options.say(f"note: stopped before an answer; {told}")
            raise

    def _answer(self) -> None:
        request, n_dropped = self._request()
        self.seed += 1
        self._interrupt.requested = False
        options = self.options
        aside = Aside(shown=not options.quiet, color=not self.surroundings.no_color)
        with on_ctrl_c(lambda *_: self._interrupt.request()):
            made = reply(self.model, request, self._view, aside)
            if made.is_one:
                self._record(made.answer, request.params, n_dropped)
        if made.interrupted or self._interrupt.requested:
            raise KeyboardInterrupt
        if made.answer.error:
            raise made.answer.error

    def _request(self) -> tuple[Request, int]:
        """The conversation as a request, and how many of its oldest turns had no room in it."""
        params, format_ = self._params(self.sampling), self.model.format(self.form)
        n_ctx, shift = self.model.context.n_ctx, self.options.shift
        prompts: dict[int, Prompt] = {}

        def size(messages: Sequence[Message]) -> int:
            prompt = prompts[len(messages)] = format_.build(messages)
            return self.model.n_tokens(prompt)

        n_dropped = dropped(self.dialogue, size, n_ctx, params.max_tokens, shift=shift)
        # What was measured is sent: a long conversation takes a while to render and tokenize.
        prompt = prompts[len(self.dialogue.without(n_dropped))]
        return self.model.request(prompt, params, self.seed), n_dropped

    def _record(self, answer: Completion, params: SamplingParams, n_dropped: int) -> None:
        """Keep the answer, and tell about it; only now go the turns that had no room."""
        options, n_ctx = self.options, self.model.context.n_ctx
        self.dialogue.drop(n_dropped)
        format_ = self.model.format(self.form)
        text = as_written(answer.text, self.model, format_, self.dialogue.messages)
        self.dialogue.answer(text, answer.reasoning)
        self._remember()
        if n_dropped:  # even if nobody wants to read anything: it is gone
            turns = "the oldest turn" if n_dropped == 1 else f"the oldest {n_dropped} turns"
            note(f"note: the context of {n_ctx} tokens is full; dropped {turns}")
        if cut := limit(answer, params.max_tokens, n_ctx, "/set max_tokens"):
            options.say(cut.note)
        if options.verbose:
            note(cost(answer))
        if self.at_terminal:
            options.say("")

    def _remember(self) -> None:
        if not self._remembers:
            return
        try:
            remember(self.surroundings.state_dir, self.dialogue, self.model.weights.name)
        except OSError as error:
            self._remembers = False  # said once
            where = self.surroundings.state_dir
            self.options.say(f"note: cannot keep the conversation in {where}: {error.strerror}")
