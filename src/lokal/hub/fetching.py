"""One pull, once the repository has answered: from what is missing to what is published."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lokal import __version__
from lokal.errors import IntegrityError, LokalError
from lokal.hub import cache
from lokal.hub.faults import Pace, retrying
from lokal.hub.link import Link
from lokal.hub.locks import taken
from lokal.hub.partial import Partial
from lokal.hub.progress import Progress, bar_for
from lokal.hub.snapshot import Snapshot
from lokal.hub.target import Digest, Source, Target, verify
from lokal.hub.transfer import Transfer

if TYPE_CHECKING:
    from lokal.hub.client import Check, Offer


class Fetching:
    """Brings targets into a snapshot, one after the other; `fetched` counts their bytes."""

    def __init__(self, snapshot: Snapshot, progress: Progress, pace: Pace) -> None:
        self.snapshot, self.progress, self.pace = snapshot, progress, pace
        self.fetched = 0

    def run(self, targets: list[Target], offer: Offer, check: Check | None) -> None:
        """Fetch what is missing; `check` sees the start of the first target before the rest comes.

        Raises:
            SpaceError: the disk has no room; nothing was fetched.
            IntegrityError: what came twice is not what the Hub announced.
            LokalError: whatever `check` raises.
            Exception: what httpx2, huggingface_hub and the disk raise.
        """
        missing = [target for target in targets if not self.snapshot.has(target)]
        missing = [target for target in missing if not self.snapshot.adopt(target)]
        if missing:
            self.snapshot.check_room(missing)
            if check and targets[0] not in missing:
                check(offer, lambda size: _start_of(self.snapshot.path(targets[0]), size))
                check = None
            self.progress.start(len(missing), sum(target.size for target in missing))
            try:
                for target in missing:
                    self._bring(target, offer, check)
                    check = None
            finally:
                self.progress.finish()
        self.snapshot.publish()

    def _bring(self, target: Target, offer: Offer, check: Check | None) -> None:
        waiting = f"another pull of {target.name} is running; waiting for it"
        with taken(self.snapshot.lock(target), lambda: self.progress.say(waiting)):
            # Another pull may have brought it while this one waited.
            if self.snapshot.has(target) or self.snapshot.adopt(target):
                return
            self.progress.begin(target.name, target.size)
            try:
                path = self.snapshot.partial(target)
                path.parent.mkdir(parents=True, exist_ok=True)
                with Partial(path, target.size) as partial:
                    before = partial.done
                    transfer = Transfer(target, partial, self._link, self.pace, self.progress)
                    if check:
                        self._check(transfer, offer, check)
                    if _only_xet_serves(target, self.pace):
                        self._through_library(target)
                    else:
                        self._copy_parts(target, partial)
                        digest = self._verified(transfer)
                        partial.close()
                        self.snapshot.place(target, path, digest)
                    partial.discard()
                self.fetched += target.size - before
            except KeyboardInterrupt:
                self.progress.say("stopped; the same command goes on from here")
                raise
            finally:
                self.progress.end()

    def _check(self, transfer: Transfer, offer: Offer, check: Check) -> None:
        partial = transfer.partial
        is_new = not partial.done

        def start(size: int) -> bytes:
            transfer.run(until=size)
            return partial.read(0, size)

        try:
            check(offer, start)
        except LokalError:
            if is_new:
                self._leave_nothing(partial)
            raise

    def _leave_nothing(self, partial: Partial) -> None:
        """Remove what was begun, and directories that would be empty."""
        partial.discard()
        with contextlib.suppress(OSError):
            self.snapshot.blobs.rmdir()
            self.snapshot.blobs.parent.rmdir()

    def _copy_parts(self, target: Target, partial: Partial) -> None:
        """Take raw parts that another tool has downloaded from the cache."""
        for source in target.sources if target.is_joined else ():
            if not partial.here.first_gap(source.span.stop, source.span.start):
                continue
            with contextlib.suppress(FileNotFoundError):
                blob = self.snapshot.blobs / source.file.etag
                if blob.stat().st_size == source.file.size:
                    partial.copy(blob, source.span.start)

    def _verified(self, transfer: Transfer) -> Digest:
        """Transfer and hash; what is wrong is fetched once more."""
        for last in (False, True):
            transfer.run()
            digest = transfer.verify()
            if not digest.wrong:
                return digest
            if not last:
                self.progress.say(f"{digest.wrong[0].file.name} arrived damaged; fetching it again")
        transfer.partial.discard()
        raise _damaged(transfer.target)

    def _through_library(self, target: Target) -> None:
        """Let huggingface_hub work beside the cache, because it believes whatever arrives."""
        from huggingface_hub import hf_hub_download

        staging = cache.folder(self.snapshot.repo) / "lokal.staging" / target.key
        shutil.rmtree(staging, ignore_errors=True)
        try:
            path = retrying(
                lambda: hf_hub_download(
                    self.snapshot.repo,
                    target.name,
                    revision=self.snapshot.commit,
                    local_dir=staging,
                    tqdm_class=bar_for(self.progress),
                ),
                self.pace,
                self.progress,
            )
            digest = verify(target, Path(path))
            if digest is None:
                raise _damaged(target)
            self.snapshot.place(target, Path(path), digest)
        finally:
            shutil.rmtree(staging.parent, ignore_errors=True)

    def _link(self, source: Source) -> Link:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        return Link(
            hf_hub_url(self.snapshot.repo, source.file.name, revision=self.snapshot.commit),
            source.file.size,
            build_hf_headers(library_name="lokal", library_version=__version__),
            self.pace.timeout,
        )


def _only_xet_serves(target: Target, pace: Pace) -> bool:
    from huggingface_hub.utils._runtime import is_xet_available

    return target.size > pace.largest and not target.is_joined and is_xet_available()


def _start_of(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _damaged(target: Target) -> IntegrityError:
    return IntegrityError(
        f"{target.name} arrived damaged: its checksum is wrong",
        hint="nothing of it was kept; a proxy may change it, so try another network",
    )
