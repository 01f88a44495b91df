"""How a model marks its reasoning, so that a constraint holds after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lokal.engine.request import Reasoning

OPEN, CLOSE = "<think>", "</think>"


def detect(
    template: str | None, prompt_text: str, tokenize: Callable[[str], Sequence[int]]
) -> Reasoning | None:
    """Whether this answer begins with reasoning between `<think>` and `</think>`, or may.

    `template` is the model's chat template, `prompt_text` what it made of the conversation,
    `tokenize` the vocabulary's own, with BOS in front where it wants one.
    """
    end = prompt_text.rstrip()
    if end.endswith(OPEN):
        return Reasoning(CLOSE, opened=True)
    if end.endswith(CLOSE) or template is None or OPEN not in template:
        return None
    tokens = tokenize(OPEN)[len(tokenize("")) :]
    return Reasoning(CLOSE, opened=False, open_token=tokens[0]) if len(tokens) == 1 else None
