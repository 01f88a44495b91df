"""`llm models`: what the registry offers, and adding to it."""

from __future__ import annotations

from typing import Annotated

import typer

from lokal.cli import options as opt

app = typer.Typer(name="models", invoke_without_command=True, rich_markup_mode=None)

_TITLES = ("NAME", "TITLE", "PARAMETERS", "SIZE", "MEMORY", "FITS", "HERE", "LICENSE")


@app.callback()
def models(
    context: typer.Context,
    json: opt.Json = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """List the models that have a name, those that fit this machine first."""
    if context.invoked_subcommand:
        return
    from lokal import settings
    from lokal.cli.output import human_bytes, human_count, plain, table, write_json, write_lines
    from lokal.offers import offers

    found = offers(settings.load())
    if json:
        write_json([offer.as_dict() for offer in found])
        return
    rows = [_TITLES]
    for offer in found:
        entry = offer.entry
        parameters = human_count(entry.parameters) if entry.parameters else "-"
        size, memory = (human_bytes(n) if n else "-" for n in (offer.size, offer.memory))
        license_ = entry.license.id.replace("LicenseRef-", "")
        if not entry.license.open_source:
            license_ += " (not open source)"
        fits, here = plain(offer.fits), "yes" if offer.here else "-"
        rows.append((entry.ref, entry.title, parameters, size, memory, fits, here, license_))
    write_lines(table(rows))


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name to give.", show_default=False)],
    ref: Annotated[
        str, typer.Argument(help="OWNER/REPO[:QUANT or FILE], or a .gguf file.", show_default=False)
    ],
    force: opt.Replace = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """Give a repository or a file a name of your own."""
    from lokal import settings
    from lokal.addition import add_model
    from lokal.cli.output import note, write_json

    path = add_model(name, ref, settings.load(), force=force)
    if json:
        write_json({"name": name, "path": str(path)})
    elif not quiet:
        note(f"{name} is in {path}; licence, context and sampling can be added there")
