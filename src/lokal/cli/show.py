"""`llm show`: what is known of one model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lokal.cli import options as opt

if TYPE_CHECKING:
    from lokal.catalog.entry import Entry
    from lokal.inventory import Item
    from lokal.weights import Weights

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
_CTX = 4096  # tokens of context that `memory` counts, or the model's own if they are fewer


def show(
    model: opt.ModelName,
    json: opt.Json = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """Show a model's licence, origin, architecture, memory and sampling."""
    from lokal import gguf, settings
    from lokal.cli.output import write_json, write_lines
    from lokal.inventory import of_repository
    from lokal.weights import Weights, find, local_path

    surroundings = settings.load()
    source = find(model, surroundings)
    facts: dict[str, Any] = {"model": source.name, "path": None}
    if source.entry:
        facts |= _from_registry(source.entry)
    repo = source.entry.repo if source.entry else source.remote
    if isinstance(repo, str) and repo:
        facts["cached"] = [_cached(item) for item in of_repository(repo, surroundings)]
    path = local_path(source, surroundings)
    if path:
        weights = Weights(source.name, path, gguf.check(path), source.entry)
        facts |= _from_file(weights)
        facts["sha256"] = weights.sha256(surroundings)
    if json:
        write_json(facts)
    else:
        write_lines(lines(facts))


def facts_of(weights: Weights) -> dict[str, Any]:
    """What is known of weights that are here: the registry's word, and over it the file's."""
    return {**(_from_registry(weights.entry) if weights.entry else {}), **_from_file(weights)}


def _from_registry(entry: Entry) -> dict[str, Any]:
    from lokal.hardware import fit

    sizes = {entry.quant: entry.size}
    if entry.size_range:
        sizes = {"smallest": entry.size_range[0], **sizes, "largest": entry.size_range[1]}
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
        "memory": fit.estimate(entry.size) if entry.size else None,
        "quants": [
            {"quant": quant, "size": size, "memory": fit.estimate(size), "fits": fit.fits(size)}
            for quant, size in sizes.items()
            if size
        ],
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
    from lokal.hardware import fit
    from lokal.hub import cache

    header, params = weights.header, asdict(weights.sampling)
    size = max(header.file_size, header.weights_bytes)  # of a split model: all shards
    facts: dict[str, Any] = {
        "path": str(weights.path),
        "commit": cache.commit_of(weights.path),
        "size": size,
        "memory": fit.needs(header, fit.Room(min(weights.context_limit, _CTX))).total,
        "architecture": header.architecture,
        "quantization": header.quantization,
        "parameters": header.parameters,
        "context": weights.context_limit,
        "template": weights.template,
        "sampling": {name: params[name] for name in SAMPLING},
    }
    return facts if weights.entry else {"title": header.name, "license": header.license, **facts}


def _cached(item: Item) -> dict[str, Any]:
    return {"name": item.name, "size": item.size, "path": str(item.path)}


def lines(facts: dict[str, Any]) -> list[str]:
    """For people: no template, which has many lines (`--json` and `run --dry-run` show it)."""
    from lokal.cli.output import human_bytes, human_count, plain

    shown = dict(facts)
    # Without the file nobody knows that there is no template.
    if facts.get("template") or (facts["path"] and "template" in facts):
        shown["template"] = "yes" if facts["template"] else "none"
    shown["path"] = facts["path"] or "not on this machine"
    if facts.get("open_source") is False:
        shown["open_source"] = "NO: read the licence before you use it"
    for name, human in (
        ("size", human_bytes),
        ("memory", human_bytes),
        ("parameters", human_count),
        ("active_parameters", human_count),
    ):
        if facts.get(name):
            shown[name] = human(facts[name])
    lists = {name: shown.pop(name, None) or [] for name in ("quants", "cached")}
    lines = [f"{key:<18} {plain(value)}" for key, value in shown.items() if value not in (None, {})]
    for offer in lists["quants"]:
        fits = {True: "fits", False: "does not fit", None: "unknown"}[offer["fits"]]
        lines.append(f"{'on offer':<18} {offer['quant']}: {human_bytes(offer['size'])}, {fits}")
    lines += [
        f"{'cached':<18} {item['name']}: {human_bytes(item['size'])}" for item in lists["cached"]
    ]
    return lines
