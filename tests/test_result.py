"""An answer as JSON, and what tells settings apart."""

from __future__ import annotations

import math
from typing import Any

from lokal.completion import failed
from lokal.engine.constraint import Grammar
from lokal.engine.prompt import PromptOptions
from lokal.engine.request import SamplingParams
from lokal.errors import UsageError
from lokal.result import Origin, as_dict, fingerprint, settings_of


def of(params: SamplingParams | None = None, **changes: Any) -> str:
    settings: dict[str, Any] = {"chat_template": "x", "system": None, "ctx": 64, "grammar": None}
    settings["form"] = PromptOptions()
    return fingerprint(settings_of(params or SamplingParams(), **(settings | changes)))


def test_a_fingerprint_tells_settings_apart() -> None:
    """The same settings, the same fingerprint; any change shows."""
    prints = [
        of(),
        of(chat_template="y"),
        of(chat_template=None),
        of(system=""),
        of(ctx=65),
        of(grammar=Grammar("json")),
        of(grammar=Grammar("regex", "x")),
        of(SamplingParams(top_k=3)),
        of(SamplingParams(stop=("\udcff",))),
        of(SamplingParams(logit_bias=((1, -math.inf),))),
        of(form=PromptOptions(think=False)),
        of(form=PromptOptions(template_kwargs={"a": 1})),
        of(form=PromptOptions(tools=({"type": "function"},))),
        of(lora=[("ab", 1.0)]),
        of(lora=[("ab", 0.5)]),
        of(lora=[("ab", 0.5), ("cd", 0.5)]),
    ]
    assert len(set(prints)) == len(prints)
    assert of() == prints[0]


def test_an_answer_that_failed_has_no_text() -> None:
    """The seed is the one that was asked for, or none."""
    error = UsageError("no", hint="no")
    for seed in (7, None):
        result = as_dict(failed(error, seed), Origin("m", "w", "f", 0.5))
        assert result["text"] is None
        assert result["seed"] == seed
        assert result["error"] == {"code": "usage", "message": "no"}
