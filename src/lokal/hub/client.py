"""Weights from the Hub.

locate    is it cached? No network, no heavy import.
pull      repository facts (one request) -> choose files -> room on disk? -> header -> transfer
          -> sha256 -> link -> ref last, so that what fails midway never hides the weights of before
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lokal import __version__
from lokal.catalog import quants
from lokal.catalog.entry import Entry
from lokal.errors import AmbiguousError, ModelNameError, NetworkError
from lokal.hub import cache
from lokal.hub.progress import Progress
from lokal.settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from lokal.hub.faults import Pace

__all__ = ["Check", "Offer", "Order", "Progress", "Pulled", "library", "locate", "pull"]


@dataclass(frozen=True)
class Order:
    """What is wanted: of an entry or `OWNER/REPO`, a quantization or a full file name.

    An entry without selector means its default quantization. Of a repository without selector
    the usual one is pulled, and whatever is cached is located.
    """

    source: Entry | str
    selector: str | None = None
    revision: str = "main"

    def wanted(self) -> tuple[str, str | None, tuple[str, ...]]:
        """Repository, selector and preferences."""
        if isinstance(self.source, str):
            return self.source, self.selector, quants.PREFERENCE
        if self.source.repo is None:
            raise ValueError(f"{self.source.ref} is embedded")
        # The registry's file name settles it where a repository holds more than one model.
        expected = self.source.filename(self.selector)
        selector = self.selector or self.source.quant
        return self.source.repo, selector, (expected,) if expected else ()


@dataclass(frozen=True)
class Offer:
    """What a repository has, and what was chosen from it; `sizes` in bytes by path."""

    repo: str
    chosen: quants.Weights
    sizes: Mapping[str, int]


class Check(Protocol):
    """Looks at the start of the first file before the rest is fetched, and raises to refuse it."""

    def __call__(self, offer: Offer, start: Callable[[int], bytes]) -> None:
        """`start(n)` gives the file's first `n` bytes."""


@dataclass(frozen=True)
class Pulled:
    """Weights in the cache: `paths` in order, the one to load first; `fetched` in bytes.

    `unlinked` has the sha256 of files that were placed now and that no link names by it.
    """

    repo: str
    commit: str
    paths: tuple[Path, ...]
    fetched: int = 0
    unlinked: Mapping[Path, str] = field(default_factory=dict)


def locate(order: Order, settings: Settings) -> Pulled | None:
    """The cached weights; None unless all files are there. The network is not touched.

    Other tools move `main` to a newer commit when they fetch something else from it, a README for
    instance. Weights of an earlier commit, to which no ref points now, then are what the user has.

    Raises:
        AmbiguousError: several of what is cached fit, and the Hub cannot settle it.
    """
    repo, _, _ = order.wanted()
    commits = [cache.commit(repo, order.revision) or order.revision]
    if order.revision == Order.revision:
        folder = cache.folder(repo)
        earlier = sorted(cache.snapshots(folder), key=_age, reverse=True)
        named = set(cache.refs(folder).values())
        commits += [path.name for path in earlier if path.name not in named]
    return next((found for commit in commits if (found := _located(order, commit, settings))), None)


def _age(snapshot: Path) -> float:
    return snapshot.stat().st_mtime


def _located(order: Order, commit: str, settings: Settings) -> Pulled | None:
    repo, selector, prefer = order.wanted()
    present = dict(cache.files(cache.folder(repo) / "snapshots" / commit))
    try:
        weights = quants.choose(present, selector, prefer)
    except ModelNameError as error:
        if isinstance(error, AmbiguousError) and settings.offline:
            raise
        return None
    if weights.raw_parts:  # another tool's; they are of no use before they are joined
        return None
    return Pulled(repo, commit, tuple(present[name] for name in weights.files))


def pull(
    order: Order,
    settings: Settings,
    progress: Progress | None = None,
    check: Check | None = None,
    pace: Pace | None = None,
) -> Pulled:
    """Bring weights into the cache. What is cached already stays as it is.

    Raises:
        ModelNameError: no such repository or revision, or no file that the selector means.
        AccessError: gated, private, or the token is invalid.
        OfflineError: the network is switched off.
        SpaceError: the disk has no room.
        IntegrityError: what came twice is not what the Hub announced.
        NetworkError: the network failed, retries included.
        UsageError: the cache directory cannot be written, or an impossible revision.
        LokalError: whatever `check` raises.
        KeyboardInterrupt: what has arrived is kept, and the next pull goes on from there.
    """
    from lokal.hub import faults
    from lokal.hub.facts import ask, check_revision

    repo, selector, prefer = order.wanted()
    progress = progress or Progress()
    check_revision(order.revision)
    cached = locate(order, settings)
    if settings.offline:
        if cached:
            return cached
        raise faults.offline(repo)
    with library() as api, faults.explained(repo, order.revision):
        from lokal.hub.fetching import Fetching
        from lokal.hub.snapshot import Snapshot
        from lokal.hub.target import targets

        try:
            facts = ask(api, repo, order.revision, progress)
        except Exception as error:
            known = faults.explain(error, repo, order.revision)
            if cached and isinstance(known or error, NetworkError):
                progress.say("the Hub cannot be asked for a newer version; the cached one is used")
                return cached
            raise
        chosen = quants.choose(facts.files, selector, prefer, facts.sizes)
        snapshot = Snapshot(repo, facts.commit, order.revision)
        fetching = Fetching(snapshot, progress, pace or faults.Pace())
        files = targets(chosen, facts)
        fetching.run(files, Offer(repo, chosen, facts.sizes), check)
        paths = tuple(snapshot.path(target) for target in files)
        return Pulled(repo, facts.commit, paths, fetching.fetched, snapshot.unlinked)


@contextlib.contextmanager
def library() -> Iterator[HfApi]:
    """huggingface_hub, kept from calling home and from writing to the terminal.

    Raises:
        NetworkError: HF_ENDPOINT is no address.
    """
    import logging

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read at import
    logger = logging.getLogger("huggingface_hub")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable()  # the import complains of odd variables on the root logger
        try:
            from huggingface_hub import HfApi
        except ValueError:  # from urllib.parse, which may quote a piece of a password
            raise NetworkError(
                "HF_ENDPOINT is no address", hint="write https:// and a host, or unset it"
            ) from None
        finally:
            logging.disable(level)
        before = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        try:
            yield HfApi(library_name="lokal", library_version=__version__)
        finally:
            logger.handlers, logger.propagate = before
