"""`llm ls`: the weights on this machine."""

from __future__ import annotations

from lokal.cli import options as opt

_SHOWN = ("name", "quantization", "size", "license", "last_used")


def ls(
    json: opt.Json = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """List the weights on this machine."""
    from datetime import datetime

    from lokal import settings
    from lokal.cli.output import human_bytes, plain, table, write_json, write_lines
    from lokal.inventory import inventory

    found = [item for item in inventory(settings.load()) if item.runs]
    if json:
        shown = [{key: getattr(item, key) for key in _SHOWN} for item in found]
        write_json([{**s, "path": str(item.path)} for s, item in zip(shown, found, strict=True)])
        return
    rows = [("NAME", "QUANT", "SIZE", "LICENSE", "USED", "PATH")]
    for item in found:
        size, license_ = human_bytes(item.size), plain(item.license)
        used = datetime.fromtimestamp(item.last_used).strftime("%Y-%m-%d")
        rows.append((item.name, plain(item.quantization), size, license_, used, str(item.path)))
    write_lines(table(rows))
