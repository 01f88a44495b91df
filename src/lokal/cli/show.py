"""`llm show`: what is known of one model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lokal.cli import options as opt

if TYPE_CHECKING:
    from lokal.catalog.entry import Entry
    from lokal.weights import Weights

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")


def show(
    model: opt.ModelName,
    json: opt.Json = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """Show a model's licence, origin, architecture and sampling."""
    from lokal import gguf, settings
    from lokal.cli.output import plain, write_json, write_lines
    from lokal.weights import Weights, find, local_path

    surroundings = settings.load()
    source = find(model, surroundings)
    facts: dict[str, Any] = {"model": source.name}
    if source.entry:
        facts |= _from_registry(source.entry)
    path = local_path(source, surroundings)
    if path:
        weights = Weights(source.name, path, gguf.check(path), source.entry)
        facts |= _from_file(weights)
        facts["sha256"] = weights.sha256(surroundings)
    else:
        facts["path"] = None
    if json:
        write_json(facts)
        return
    # A template has many lines; `--json` and `run --dry-run` show it. Without the file nobody
    # knows that there is none.
    if path or facts.get("template"):
        facts["template"] = "yes" if facts["template"] else "none"
    facts["path"] = facts["path"] or "not on this machine"
    write_lines([f"{k:<18} {plain(v)}" for k, v in facts.items() if v not in (None, {})])


def _from_registry(entry: Entry) -> dict[str, Any]:
    return {
        "title": entry.title,
        "license": entry.license.name,
        "license_url": entry.license.url,
        "open_source": entry.license.open_source,
        "origin": entry.origin.name,
        "origin_url": entry.origin.url,
        "repo": entry.repo,
        "file": entry.filename(),
        "size": entry.size,
        "parameters": entry.parameters,
        "active_parameters": entry.active_parameters,
        "architecture": entry.architecture,
        "context": entry.context,
        "base": entry.base,
        "template": entry.template,
        "sampling": entry.sampling.as_dict(),
        "confidence": entry.confidence,
        "notes": entry.notes,
    }


def _from_file(weights: Weights) -> dict[str, Any]:
    """What the file itself says; it is what really runs, so it goes over the registry's word."""
    header, params = weights.header, asdict(weights.sampling)
    facts: dict[str, Any] = {
        "path": str(weights.path),
        "size": header.file_size,
        "architecture": header.architecture,
        "quantization": header.quantization,
        "parameters": header.parameters,
        "context": weights.context_limit,
        "template": weights.template,
        "sampling": {name: params[name] for name in SAMPLING},
    }
    return facts if weights.entry else {"title": header.name, "license": header.license, **facts}
