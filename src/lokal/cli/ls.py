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
    from lokal.cli.output import human_bytes, table, write_json, write_lines
    from lokal.inventory import inventory

    found = inventory(settings.load())
    if json:
        write_json([{**vars(item), "path": str(item.path)} for item in found])
        return
    rows = [("NAME", "SIZE", "LICENSE", "USED", "PATH")]
    for item in found:
        used = datetime.fromtimestamp(item.last_used).strftime("%Y-%m-%d")
        rows.append((item.name, human_bytes(item.size), item.license or "-", used, str(item.path)))
    write_lines(table(rows))
