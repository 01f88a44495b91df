"""How an answer ended: what is told about it, and an exit code that tells the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lokal.cli.output import show_error
from lokal.completion import Completion
from lokal.engine.request import FinishReason
from lokal.errors import LengthError


class Limit(NamedTuple):
    """Where an answer was cut, and what helps."""

    where: str
    hint: str

    @property
    def note(self) -> str:
        """A line for people."""
        return f"note: the answer stopped at {self.where}; {self.hint}"


def statistics(answer: Completion, load_seconds: float) -> str:
    """What the answer of a run took, in a line."""
    usage, timings = answer.usage, answer.timings
    n_read = usage.prompt_tokens - usage.cached_tokens
    cached = f" ({usage.cached_tokens} more were cached)" if usage.cached_tokens else ""
    return (
        f"load {load_seconds:.2f} s"
        f" · prompt {n_read} tokens{cached} in {timings.prompt:.2f} s"
        f" ({n_read / max(timings.prompt, 1e-9):.1f}/s)"
        f" · generated {usage.completion_tokens} tokens in {timings.generate:.2f} s"
        f" ({_speed(answer):.1f}/s)"
        f" · {answer.finish_reason}"
    )


def cost(answer: Completion) -> str:
    """What the answer of a turn took, in a line."""
    usage = answer.usage
    return (
        f"prompt {usage.prompt_tokens - usage.cached_tokens} tokens, {usage.cached_tokens} cached"
        f" · first token after {answer.timings.prompt:.2f} s"
        f" · generated {usage.completion_tokens} tokens ({_speed(answer):.1f}/s)"
    )


def _speed(answer: Completion) -> float:
    """Tokens per second of generating; the first comes out of the prompt's own computation."""
    return max(0, answer.usage.completion_tokens - 1) / max(answer.timings.generate, 1e-9)


def limit(answer: Completion, max_tokens: int | None, n_ctx: int, option: str) -> Limit | None:
    """What cut the answer, if anything did; `option` sets `max_tokens`."""
    if answer.finish_reason is not FinishReason.LENGTH:
        return None
    if answer.usage.completion_tokens == max_tokens:
        return Limit(f"the limit of {max_tokens} tokens", f"{option} raises it")
    return Limit(f"the end of the context ({n_ctx} tokens)", "-c raises it")


def exit_code(
    answers: Sequence[Completion],
    *,
    max_tokens: int | None,
    n_ctx: int,
    fail_on_length: bool,
    say: Callable[[str], object],
) -> int:
    """What the answers to one prompt come to.

    Raises:
        LokalError: the only answer failed.
        KeyboardInterrupt: Ctrl-C ended an answer.
    """
    if any(answer.finish_reason is FinishReason.ABORTED for answer in answers):
        raise KeyboardInterrupt
    failed = next((answer.error for answer in answers if answer.error), None)
    if failed and len(answers) == 1:
        raise failed
    if failed:
        show_error(failed, as_json=False)
        return failed.exit_code
    limits = (limit(answer, max_tokens, n_ctx, "-n") for answer in answers)
    cut = next(filter(None, limits), None)
    if cut is None:
        return 0
    if fail_on_length:
        error = LengthError(f"the answer was cut at {cut.where}", hint=cut.hint)
        show_error(error, as_json=False)
        return error.exit_code
    say(cut.note)
    return 0
