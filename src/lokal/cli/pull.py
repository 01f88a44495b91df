"""`llm pull`: weights into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lokal.cli import options as opt

if TYPE_CHECKING:
    from pathlib import Path

    from lokal.hub.client import Progress
    from lokal.settings import Settings


def pull(
    models: opt.ModelNames,
    revision: opt.Revision = "main",
    force: opt.Force = False,
    offline: opt.Offline = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> None:
    """Fetch weights, or their newest version; print the path of each model's first file."""
    from lokal import settings
    from lokal.cli.output import write_json, write_lines
    from lokal.cli.ui import progress
    from lokal.hub.client import Progress

    surroundings = settings.load(offline=offline)
    results = []
    for model in models:
        show = Progress() if quiet else progress(surroundings)
        result = _pull_one(model, surroundings, show, revision=revision, force=force)
        results.append(result)
        if not json:
            write_lines([result["path"]])
    if json:
        write_json(results[0] if len(results) == 1 else results)


def _pull_one(
    model: str, surroundings: Settings, show: Progress, *, revision: str, force: bool
) -> dict[str, Any]:
    """The result as `--json` prints it; `bytes` and `sha256` as they are on the disk."""
    from lokal import gguf
    from lokal.preflight import Preflight
    from lokal.weights import fetch, find

    source = find(model, surroundings)
    if source.path:  # built in, or a file of the user's own
        gguf.check(source.path)
        show.say(f"already here: {source.name}")
        return _result([source.path], surroundings) | {"repo": None, "commit": None}
    check = None if force else Preflight()
    pulled = fetch(source, surroundings, show, revision=revision, check=check)
    if not pulled.fetched:
        show.say(f"already here: {source.name}")
    result = _result(pulled.paths, surroundings)
    return result | {"repo": pulled.repo, "commit": pulled.commit}


def _result(paths: tuple[Path, ...] | list[Path], surroundings: Settings) -> dict[str, Any]:
    from lokal.checksum import sha256

    files = [
        {
            "path": str(path),
            "sha256": sha256(path, surroundings.state_dir),
            "bytes": path.stat().st_size,
        }
        for path in paths
    ]
    return {
        "path": files[0]["path"],
        "files": files,
        "sha256": files[0]["sha256"],
        "bytes": sum(file["bytes"] for file in files),
    }
