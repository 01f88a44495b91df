"""`llm prune`: remove what interrupted downloads and updates left behind."""

from __future__ import annotations

from lokal.cli import options as opt


def prune(
    yes: opt.Yes = False,
    dry_run: opt.DryRunRemoval = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> int | None:
    """Remove interrupted downloads, revisions out of use, and broken links."""
    from lokal.cli.confirm import DECLINED, confirmed
    from lokal.cli.output import human_bytes, note, table, write_json, write_lines
    from lokal.hub import leftovers

    pruning = leftovers.find()
    size = human_bytes(pruning.freed)
    rows = [(left.kind, left.repo, str(left.path)) for left in pruning.leftovers]
    if rows and not (json or quiet):
        write_lines(table([("KIND", "REPOSITORY", "PATH"), *rows]))
    for repo in () if quiet else pruning.busy:
        note(f"note: {repo} is being downloaded right now, it is left alone")
    if rows and not dry_run:
        if not confirmed(f"Remove this, and free {size}?", yes):
            return DECLINED
        leftovers.remove(pruning)
    if json:
        removed = [{**vars(left), "path": str(left.path)} for left in pruning.leftovers]
        write_json(
            {"removed": removed, "freed": pruning.freed, "busy": pruning.busy, "dry_run": dry_run}
        )
    elif not quiet:
        note(f"{'would free' if dry_run else 'freed'} {size}" if rows else "nothing to remove")
    return None
