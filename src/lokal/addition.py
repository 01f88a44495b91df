"""A model of the user's own: what a repository or a file gets a name with."""

from __future__ import annotations

import re
from pathlib import Path

from lokal import gguf
from lokal.catalog import overlay
from lokal.catalog.refs import PathRef, RepoRef, parse
from lokal.catalog.registry import Registry
from lokal.errors import UsageError
from lokal.settings import Settings, expand

UNKNOWN_LICENSE = "LicenseRef-unknown"
_QUANT = re.compile(
    r"(?<=[-._])(?:UD-)?(?:I?Q\d\w*|TQ\d_\d|BF16|F16|F32|MXFP4)(?=\.gguf$)", re.IGNORECASE
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)", re.IGNORECASE)


def add_model(name: str, text: str, settings: Settings, *, force: bool = False) -> Path:
    """Give OWNER/REPO[:QUANT or FILE], or a GGUF file, a name; returns the registry it is in.

    The network is not touched: whether the repository exists, the first pull will tell.

    Raises:
        ModelNameError: the text names no model.
        LoadError: the file is no model that can be loaded.
        UsageError: the name or the text is not fit for this.
    """
    ref = parse(text)
    if isinstance(ref, RepoRef):
        fields = _of_repository(ref)
    elif isinstance(ref, PathRef):
        fields = _of_file(expand(ref.path), name, Registry.load(settings))
    else:
        raise UsageError(
            f"{text} has a name already", hint="name a repository, OWNER/REPO, or a .gguf file"
        )
    overlay.add(settings.overlay_path, name, fields, force=force)
    return settings.overlay_path


def _of_repository(ref: RepoRef) -> dict[str, str]:
    owner, _, repo = ref.repo.partition("/")
    title = re.sub(r"[-_.]gguf$", "", repo, flags=re.IGNORECASE)
    fields = {"title": title, "repo": ref.repo}
    if ref.selector and ref.selector.lower().endswith(".gguf"):
        file = _SHARD.sub("", ref.selector)
        quant = _QUANT.search(file)
        # A file without a quantization in its name is asked for by that name.
        fields["file"] = file.replace(quant[0], "{quant}") if quant else file
        fields["quant"] = quant[0] if quant else ref.selector
        fields["confidence"] = "seen"
    else:
        # The usual way to call it; pull looks through the repository anyway.
        fields["file"] = title + "-{quant}.gguf"
        if ref.selector:
            fields["quant"] = ref.selector
        fields["confidence"] = "inferred"
    fields["license"] = UNKNOWN_LICENSE
    fields["origin.name"] = owner
    fields["origin.url"] = f"https://huggingface.co/{ref.repo}"
    return fields


def _of_file(path: Path, name: str, registry: Registry) -> dict[str, str]:
    header = gguf.check(path)
    license_ = registry.license_id(header.license or "") or UNKNOWN_LICENSE
    return {
        "title": header.name or name,
        "path": str(path.absolute()),
        "quant": header.quantization,
        "license": license_,
        "origin.name": header.text("general.organization") or "a file of your own",
        "architecture": header.architecture,
        "confidence": "seen",
    }
