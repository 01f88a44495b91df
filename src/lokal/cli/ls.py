"""`llm ls`: the weights on this machine."""

from __future__ import annotations

from lokal.cli import options as opt


def ls(
    json: opt.Json = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """List the weights on this machine."""
    from datetime import datetime

    from lokal import settings
    from lokal.cli.output import human_bytes, plain, table, write_json, write_lines
    from lokal.inventory import inventory

    found = inventory(settings.load())
    if json:
        write_json([item.as_dict() for item in found])
        return
    rows = [("NAME", "QUANT", "SIZE", "LICENSE", "USED", "PATH")]
    for item in found:
        size = human_bytes(item.size)
        if item.missing:
            size += f", {item.missing} of {item.missing + len(item.files)} shards missing"
        used = datetime.fromtimestamp(item.last_used).strftime("%Y-%m-%d")
        name, quant, license_ = item.name, plain(item.quantization), plain(item.license)
        rows.append((name, quant, size, license_, used, str(item.path)))
    write_lines(table(rows))
