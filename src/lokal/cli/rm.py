"""`llm rm`: take models off this machine."""

from __future__ import annotations

from lokal.cli import options as opt


def rm(
    model: opt.CachedModels,
    yes: opt.Yes = False,
    dry_run: opt.DryRunRemoval = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> int | None:
    """Remove models from the cache; shows what goes, and asks."""
    from lokal import settings
    from lokal.cli.confirm import DECLINED, confirmed
    from lokal.cli.output import human_bytes, note, write_json, write_lines
    from lokal.disposal import dispose, plan_disposal

    disposal = plan_disposal(model, settings.load())
    size = human_bytes(disposal.freed)
    if not (json or quiet):
        write_lines(disposal.names)
    if not dry_run:
        if not confirmed(f"Remove this, and free {size}?", yes):
            return DECLINED
        dispose(disposal)
    if json:
        write_json({"removed": disposal.names, "freed": disposal.freed, "dry_run": dry_run})
    elif not quiet:
        note(f"{'would free' if dry_run else 'freed'} {size}")
    return None
