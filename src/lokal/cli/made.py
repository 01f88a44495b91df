"""What an answer was made with, for its fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lokal.engine.prompt import PromptOptions
from lokal.engine.request import SamplingParams
from lokal.loading import LoadOptions, lora_settings
from lokal.result import settings_of
from lokal.settings import Settings
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.constraint import Grammar


def made_with(
    weights: Weights,
    load: LoadOptions,
    params: SamplingParams,
    *,
    form: PromptOptions,
    system: str | None,
    grammar: Grammar | None,
    surroundings: Settings,
) -> dict[str, Any]:
    """Everything besides the weights and the seed that shapes an answer, fit for JSON."""
    return settings_of(
        params,
        form=form,
        chat_template=None if form.raw else weights.template,
        system=system,
        ctx=load.ctx or weights.context_limit,
        grammar=grammar,
        lora=lora_settings(load.lora, surroundings),
        kv_type=",".join(load.kv_types()),
    )
