"""`llm models`: what the registry offers."""

from __future__ import annotations

from lokal.cli import options as opt


def models(
    json: opt.Json = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """List the models that have a name."""
    from dataclasses import asdict

    from lokal import settings
    from lokal.catalog.registry import Registry
    from lokal.cli.output import human_bytes, table, write_json, write_lines

    entries = list(Registry.load(settings.load()).entries())
    if json:
        write_json([asdict(entry) for entry in entries])
        return
    rows = [("NAME", "TITLE", "SIZE", "CONTEXT", "LICENSE")]
    for entry in entries:
        size = human_bytes(entry.size) if entry.size else "built in"
        license_ = entry.license.id + ("" if entry.license.open_source else " (not open source)")
        rows.append((entry.ref, entry.title, size, str(entry.context or "-"), license_))
    write_lines(table(rows))
