"""An answer as JSON: the one shape of `run --json` and of every row of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from lokal.completion import Completion
from lokal.engine.prompt import PromptOptions
from lokal.engine.request import SamplingParams, TokenLogprob

if TYPE_CHECKING:
    from lokal.engine.constraint import Grammar


class Origin(NamedTuple):
    """What made an answer: model, sha256 of its weights, and a hash of all other settings."""

    model: str
    weights: str
    fingerprint: str
    load_seconds: float


def as_dict(answer: Completion, origin: Origin) -> dict[str, Any]:
    """The answer; the text of one that failed is null, and `error` says why. Times are seconds."""
    result: dict[str, Any] = {
        "model": origin.model,
        "text": None if answer.error else answer.text,
        "reasoning": answer.reasoning,
        "finish_reason": answer.finish_reason,
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "cached_tokens": answer.usage.cached_tokens,
            "completion_tokens": answer.usage.completion_tokens,
        },
        "timings": {
            "load": round(origin.load_seconds, 4),
            "prompt": round(answer.timings.prompt, 4),
            "generate": round(answer.timings.generate, 4),
        },
        "seed": answer.seed,
        "weights": origin.weights,
        "fingerprint": origin.fingerprint,
    }
    if answer.logprobs is not None:
        result["logprobs"] = [
            {**_logprob(token), "top_logprobs": [_logprob(other) for other in token.top]}
            for token in answer.logprobs
        ]
    if answer.error:
        result["error"] = {"code": answer.error.code, "message": answer.error.message}
    return result


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.token,
        "id": token.id,
        "logprob": round(token.logprob, 6),
        "bytes": list(token.data),
    }


def settings_of(
    params: SamplingParams,
    *,
    form: PromptOptions,
    chat_template: str | None,
    system: str | None,
    ctx: int,
    grammar: Grammar | None,
    lora: Sequence[tuple[str, float]] = (),
    kv_type: str = "f16",
) -> dict[str, Any]:
    """Everything besides the weights and the seed that shapes an answer, fit for JSON.

    `ctx` is the context in tokens that was asked for, or the model's own, and not what memory
    allowed this time: a batch that stopped must be able to go on later. `lora` is the sha256 and
    scale of each adapter, `kv_type` the type of numbers in the KV cache.
    """
    return {
        **asdict(params),
        "chat_template": chat_template,
        "tools": list(form.tools),
        "think": form.think,
        "template_kwargs": dict(form.template_kwargs),
        "system": system,
        "ctx": ctx,
        "grammar": list(grammar) if grammar else None,
        "lora": [list(adapter) for adapter in lora],
        "kv_type": kv_type,
    }


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hash of settings."""
    import hashlib
    import json

    canonical = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()[:16]
