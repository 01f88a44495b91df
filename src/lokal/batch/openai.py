"""A row of an OpenAI batch: `custom_id`, `method`, `url`, and the request as `body`.

Read from the body: messages, max_tokens and max_completion_tokens, temperature, top_p, seed, stop,
response_format, and top_k, min_p, ignore_eos as other servers have them. What has no bearing on
the answer is ignored. Anything else, unless it is null or has its default, would change the answer
in a way that we cannot follow: the row fails and names the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lokal.batch import content
from lokal.batch.content import Content
from lokal.batch.record import Record
from lokal.batch.template import Template
from lokal.engine.constraint import Grammar
from lokal.errors import UsageError

READ = {"messages", "max_completion_tokens", "seed", "stop", "response_format", *content.SAMPLING}
IGNORED = {"model", "user", "metadata", "store", "service_tier", "safety_identifier"} | {
    "prompt_cache_key",
    "prompt_cache_retention",
    "prediction",
    "stream_options",
    "parallel_tool_calls",
}
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stream": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
}


def is_request(row: Mapping[str, Any]) -> bool:
    """Whether a JSON row is of this kind."""
    if "custom_id" not in row or not isinstance(row.get("body"), dict):
        return False
    return "messages" in row["body"] or not {"prompt", "messages"} & row.keys()


def from_row(record: Record, template: Template | None, system: str | None) -> Content:
    """What such a row asks for.

    Raises:
        UsageError: something we cannot do, or it cannot have.
    """
    _check_envelope(record.asks)
    body = record.asks.get("body")
    if not isinstance(body, dict):
        raise UsageError("no body", hint="an OpenAI row has custom_id and body")
    for key, value in body.items():
        if key in READ or key in IGNORED or value is None or value in DEFAULTS.get(key, ()):
            continue
        raise UsageError(f"the body asks for {key!r}, which is not supported", hint="leave it out")
    messages = (
        content.filled(record, template) if template else content.conversation(body.get("messages"))
    )
    return Content(
        content.finished(messages, None, system),
        content.sampling({**body, "max_tokens": _max_tokens(body)}),
        content.seed(body),
        _grammar(body.get("response_format")),
    )


def _check_envelope(row: Mapping[str, Any]) -> None:
    method, url = row.get("method"), row.get("url")
    if method not in (None, "POST"):
        raise UsageError(f"the method is {method!r}", hint="give POST, or leave it out")
    if url is not None and not (isinstance(url, str) and url.endswith("/chat/completions")):
        raise UsageError(f"the url is {url!r}", hint="only /v1/chat/completions is answered")


def _max_tokens(body: Mapping[str, Any]) -> Any:
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and new is not None and old != new:
        raise UsageError(
            "max_tokens and max_completion_tokens differ", hint="leave one of them out"
        )
    return old if new is None else new


def _grammar(response_format: Any) -> Grammar | None:
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar("json", "")
    if kind == "json_schema":
        named = response_format.get("json_schema")
        return content.schema_grammar(named.get("schema") if isinstance(named, dict) else None)
    raise UsageError(
        f"response_format is of type {kind!r}", hint="give text, json_object or json_schema"
    )
