"""How a run ends: statistics for people, and an exit code that tells the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lokal.cli.output import show_error
from lokal.completion import Completion
from lokal.engine.request import FinishReason
from lokal.errors import LengthError


def statistics(answer: Completion, load_seconds: float) -> str:
    """What an answer took, in a line."""
    usage, timings = answer.usage, answer.timings
    n_read = usage.prompt_tokens - usage.cached_tokens
    cached = f" ({usage.cached_tokens} more were cached)" if usage.cached_tokens else ""
    # The first token comes out of the prompt's own computation.
    after_first = max(0, usage.completion_tokens - 1)
    return (
        f"load {load_seconds:.2f} s"
        f" · prompt {n_read} tokens{cached} in {timings.prompt:.2f} s"
        f" ({n_read / max(timings.prompt, 1e-9):.1f}/s)"
        f" · generated {usage.completion_tokens} tokens in {timings.generate:.2f} s"
        f" ({after_first / max(timings.generate, 1e-9):.1f}/s)"
        f" · {answer.finish_reason}"
    )


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
    cut = next((a for a in answers if a.finish_reason is FinishReason.LENGTH), None)
    if cut is None:
        return 0
    if cut.usage.completion_tokens == max_tokens:
        why, hint = f"the limit of {max_tokens} tokens", "-n raises it"
    else:
        why, hint = f"the end of the context ({n_ctx} tokens)", "-c raises it"
    if fail_on_length:
        error = LengthError(f"the answer was cut at {why}", hint=hint)
        show_error(error, as_json=False)
        return error.exit_code
    say(f"note: the answer stopped at {why}; {hint}")
    return 0
