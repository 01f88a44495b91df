"""An answer as JSON: the one shape of `run --json` and of every row of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

from lokal.model import Completion


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
    if answer.error:
        result["error"] = {"code": answer.error.code, "message": answer.error.message}
    return result
