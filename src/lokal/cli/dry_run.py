"""What `llm run --dry-run` shows: the rendered prompt, and the settings in force."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lokal.cli.output import open_sink, plain, write_json
from lokal.engine.detokenizer import printable
from lokal.engine.prompt import Prompt
from lokal.engine.request import SamplingParams


def show(
    prompt: Prompt,
    settings: Mapping[str, Any],
    params: SamplingParams,
    *,
    output: str | None,
    as_json: bool,
) -> None:
    """Write them to a file or standard output, for people or as one JSON value."""
    result = {**settings, "prompt_tokens": len(prompt.tokens), **asdict(params)}
    # JSON knows no infinity.
    result["logit_bias"] = {
        str(token): bias if math.isfinite(bias) else "-inf" for token, bias in params.logit_bias
    }
    with open_sink(output) as sink:
        if as_json:
            write_json({**result, "prompt": printable(prompt.text)}, sink)
        else:
            lines = [*(f"{name:<16} {plain(value)}" for name, value in result.items()), ""]
            sink.write("\n".join([*lines, prompt.text]))
            sink.end()
