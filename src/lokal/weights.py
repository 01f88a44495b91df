"""Weights on this machine: what a model's name came to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lokal import gguf
from lokal.catalog.entry import Entry
from lokal.catalog.refs import PathRef, RepoRef, parse
from lokal.catalog.registry import Registry
from lokal.engine.reasoning import Channels, Rule, Tags, detect
from lokal.engine.request import SamplingParams
from lokal.errors import ModelNameError, UsageError
from lokal.settings import Settings

if TYPE_CHECKING:
    from lokal.hub.client import Check, Progress, Pulled


class Source(NamedTuple):
    """Where a model's weights come from: a file on this machine, or else the Hub.

    `remote` is an entry of the registry or OWNER/REPO; `selector` is a quantization or a file
    name there, None for the default one.
    """

    name: str
    path: Path | None = None
    entry: Entry | None = None
    remote: Entry | str = ""
    selector: str | None = None


class Weights(NamedTuple):
    """A checked GGUF file, and what the registry knows of it.

    `own_template` is a chat template of the user's, in place of the file's.
    """

    name: str
    path: Path
    header: gguf.Header
    entry: Entry | None
    own_template: str | None = None

    @property
    def template(self) -> str | None:
        """The chat template; None for a model that only completes text."""
        if self.own_template is not None:
            return self.own_template
        if self.entry and self.entry.base:
            return None
        return (self.entry and self.entry.template) or self.header.chat_template

    @property
    def reasoning(self) -> Rule | None:
        """How the model marks its reasoning: the registry's word, else what its template shows.

        None for one that does not reason, or only completes text.
        """
        if self.template is None:
            return None
        if self.entry is None or self.entry.reasoning is None:
            return detect(self.template)
        marks = self.entry.reasoning
        if marks.channels:
            return Channels(marks.channels, marks.switch)
        return Tags(marks.open, marks.close, marks.switch)

    @property
    def sampling(self) -> SamplingParams:
        """What the makers recommend: the registry's word, then the file's, then the defaults."""
        recommended: dict[str, Any] = self.entry.sampling.as_dict() if self.entry else {}
        try:
            return SamplingParams(**(self.header.sampling() | recommended))
        except UsageError:  # the file recommends what nobody can sample with
            return SamplingParams(**recommended)

    @property
    def context_limit(self) -> int:
        """Tokens the model was trained for, as the registry caps them."""
        limits = [self.header.context_length, self.entry and self.entry.context]
        return min(limit for limit in limits if limit)

    def sha256(self, settings: Settings) -> str:
        """Hex digest of the (first) file."""
        from lokal.checksum import sha256

        return sha256(self.path, settings.state_dir)


def find(text: str, settings: Settings) -> Source:
    """What a model's name means; nothing is fetched and no file is opened.

    Raises:
        ModelNameError: no such model.
        UsageError: the user's registry is invalid.
    """
    ref = parse(text)
    if isinstance(ref, PathRef):
        return Source(str(ref), Path(ref.path).expanduser())
    if isinstance(ref, RepoRef):
        return Source(str(ref), remote=ref.repo, selector=ref.selector)
    entry = Registry.load(settings).resolve(ref)
    path = entry.embedded_path()
    if path and ref.quant and ref.quant.lower() != entry.quant.lower():
        raise ModelNameError(f"{entry.ref} comes as {entry.quant} only", hint=f"use {entry.ref}")
    if path or not ref.quant:
        return Source(entry.ref, path, entry, entry)
    return Source(f"{entry.ref}@{ref.quant}", None, entry, entry, ref.quant)


def local_path(source: Source, settings: Settings) -> Path | None:
    """The file, if it is on this machine; the network is not touched."""
    if source.path:
        return source.path
    # 5 ms that an embedded model and a path do without
    from lokal.hub.client import Order, locate

    found = locate(Order(source.remote, source.selector), settings)
    return found.paths[0] if found else None


def obtain(
    source: Source,
    settings: Settings,
    progress: Callable[[], Progress] | None = None,
    *,
    ctx: int | None = None,
    kv_types: tuple[str, str] = ("f16", "f16"),
    mapped: bool = False,
) -> Weights:
    """The weights of a source, fetched if they are not here yet.

    `progress` makes the object that a transfer reports to, if there is one. The others say with
    what it will be loaded, as for `Preflight`.

    Raises:
        LokalError: any leaf with exit code 2 to 8, or 12.
    """
    path = local_path(source, settings)
    if path is None:
        from lokal.preflight import Preflight

        check = Preflight(ctx, kv_types, mapped=mapped)
        path = fetch(source, settings, progress and progress(), check=check).paths[0]
    return Weights(source.name, path, gguf.check(path), source.entry)


def fetch(
    source: Source,
    settings: Settings,
    progress: Progress | None = None,
    *,
    revision: str = "main",
    check: Check | None = None,
) -> Pulled:
    """Bring the weights of a source on the Hub into the cache, at the Hub's current version.

    `check` sees the first bytes; `Preflight` refuses what cannot be loaded or does not fit here.

    Raises:
        LokalError: any leaf with exit code 2 to 8, or 12.
    """
    from lokal.checksum import remember
    from lokal.hub.client import Order, pull

    order = Order(source.remote, source.selector, revision)
    pulled = pull(order, settings, progress, check)
    for path, digest in pulled.unlinked.items():
        remember(path, settings.state_dir, digest)
    return pulled
