"""Weights from the Hub: the only importer of huggingface_hub.

locate    is it cached? No network, no heavy import.
fetch     repository facts (one request) -> choose files -> room on disk? -> transfer -> sha256
          -> refs/main last, so that what fails midway never hides the weights from before
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lokal import __version__
from lokal.catalog import quants
from lokal.catalog.entry import Entry
from lokal.errors import (
    AccessError,
    IntegrityError,
    LokalError,
    ModelNameError,
    NetworkError,
    OfflineError,
    SpaceError,
    UsageError,
)
from lokal.hub import cache
from lokal.hub.progress import Progress, bar_for
from lokal.settings import Settings

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

    from lokal.hub.snapshot import File, Snapshot

__all__ = ["Progress", "fetch", "locate"]

T = TypeVar("T")

_TRIES = 3
_TIMEOUT = 10  # seconds without an answer
_MAX_WAIT = 30.0  # seconds; a server may ask for more, a person at a terminal would give up
_BUSY = {408, 425, 429, 500, 502, 503, 504}


def locate(
    source: Entry | str,
    selector: str | None,
    settings: Settings,  # noqa: ARG001 - as fetch has it, so that callers pass the same
) -> Path | None:
    """The cached weights (of a split model the first shard); None unless all files are there.

    `source` is an entry or `OWNER/REPO`, `selector` a quantization or a full file name. An entry
    without selector means its default quantization; of a repository without selector whatever is
    cached will do. The network is not touched.
    """
    repo, selector, prefer = _wanted(source, selector)
    commit = cache.commit(repo)
    if commit is None:
        return None
    present = dict(cache.files(cache.folder(repo) / "snapshots" / commit))
    try:
        return present[quants.pick(list(present), selector, prefer)[0]]
    except ModelNameError:
        return None


def fetch(
    source: Entry | str, selector: str | None, settings: Settings, progress: Progress | None = None
) -> Path:
    """Bring weights into the cache, and return the path of the (first) file.

    `source` and `selector` as for `locate`. Files that are cached already stay as they are.

    Raises:
        ModelNameError: no such repository, or no file that the selector means.
        LoadError: the weights come in raw parts.
        AccessError: gated, private, or the token is invalid.
        OfflineError: the network is switched off.
        SpaceError: the disk has no room.
        IntegrityError: what came is not what the Hub announced; it is removed again.
        NetworkError: the network failed, retries included.
        UsageError: the cache directory cannot be written.
    """
    repo, selector, prefer = _wanted(source, selector)
    if settings.offline:
        raise _offline(repo)
    from lokal.hub.snapshot import Snapshot

    progress = progress or Progress()
    with _library() as api, _typed_errors(repo):
        commit, listing = _facts(api, repo, progress)
        files = [listing[name] for name in quants.pick(list(listing), selector, prefer)]
        snapshot = Snapshot(repo, commit, files)
        missing = snapshot.missing()
        snapshot.check_room(missing)
        for file in missing:
            _transfer(snapshot, file, progress)
        snapshot.publish()
    return snapshot.path(files[0])


def _wanted(source: Entry | str, selector: str | None) -> tuple[str, str | None, tuple[str, ...]]:
    """Repository, selector and preferences of a source."""
    if isinstance(source, str):
        return source, selector, quants.PREFERENCE
    if source.repo is None:
        raise ValueError(f"{source.ref} is embedded")
    # The registry's file name settles it where a repository holds more than one model.
    expected = source.filename(selector)
    return source.repo, selector or source.quant, (expected,) if expected else ()


@contextlib.contextmanager
def _library() -> Iterator[HfApi]:
    """huggingface_hub, kept from calling home and from writing to the terminal."""
    import logging

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read at import
    logger = logging.getLogger("huggingface_hub")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable()  # the import complains of odd variables on the root logger
        try:
            from huggingface_hub import HfApi
        finally:
            logging.disable(level)
        before = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        try:
            yield HfApi(library_name="lokal", library_version=__version__)
        finally:
            logger.handlers, logger.propagate = before


def _facts(api: HfApi, repo: str, progress: Progress) -> tuple[str, dict[str, File]]:
    """The commit that main is at, and its files by name."""
    from lokal.hub.snapshot import File

    try:
        info = _retrying(
            lambda: api.model_info(repo, files_metadata=True, timeout=_TIMEOUT), progress
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise _not_the_hub() from error
    if info.sha is None:
        raise _not_the_hub()
    listing = {}
    for sibling in info.siblings or []:
        name = sibling.rfilename
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            continue  # would lie outside the cache
        digest = sibling.lfs.sha256 if sibling.lfs else None
        listing[name] = File(name, sibling.size, digest)
    return info.sha, listing


def _transfer(snapshot: Snapshot, file: File, progress: Progress) -> None:
    from huggingface_hub import hf_hub_download

    progress.begin(file.name, file.size or 0)
    try:
        # By commit, because then the library leaves refs/main alone.
        _retrying(
            lambda: hf_hub_download(
                snapshot.repo,
                file.name,
                revision=snapshot.commit,
                cache_dir=cache.root(),
                etag_timeout=_TIMEOUT,
                tqdm_class=bar_for(progress),
            ),
            progress,
            link=True,
        )
        snapshot.check(file)
    finally:
        progress.end()


def _retrying(call: Callable[[], T], progress: Progress, *, link: bool = False) -> T:
    """Try again what may pass; `link`: a 403 may mean that a signed link has expired."""
    for attempt in range(1, _TRIES):
        try:
            return call()
        except Exception as error:
            pause = _pause(error, attempt, link)
            if pause is None:
                raise
            progress.wait(pause, _first_line(error))
            time.sleep(pause)
    return call()


def _pause(error: Exception, attempt: int, link: bool) -> float | None:
    """Seconds before the next try, or None if trying again cannot help."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return None
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status not in _BUSY and not (link and status == 403):
            return None
        asked = error.response.headers.get("Retry-After", "")
        seconds = float(asked) if asked.isdigit() else 0.5 * 2**attempt
        return seconds if seconds <= _MAX_WAIT else None
    if isinstance(error, httpx2.TransportError):
        permanent = isinstance(error, (httpx2.ProxyError, httpx2.UnsupportedProtocol))
        return None if permanent else 0.25 * 2**attempt
    return None


@contextlib.contextmanager
def _typed_errors(repo: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into our own errors; what is unexpected stays as it is."""
    try:
        yield
    except LokalError:
        raise
    except Exception as error:
        explained = _explain(error, repo)
        if explained is None:
            raise
        raise explained from error


def _explain(error: BaseException, repo: str) -> LokalError | None:
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub import errors as hf

    match error:
        case hf.GatedRepoError():  # before RepositoryNotFoundError, its parent
            return AccessError(
                f"{repo} is gated: its owners decide who may have it",
                hint=f"ask for access on {constants.ENDPOINT}/{repo}, then set HF_TOKEN",
            )
        case hf.DisabledRepoError():
            return AccessError(f"the Hub has disabled {repo}", hint="choose another repository")
        case hf.RepositoryNotFoundError():
            return _not_found(repo)
        case hf.RevisionNotFoundError() | hf.RemoteEntryNotFoundError():
            return ModelNameError(
                f"{repo} changed while it was read", hint="run the same command again"
            )
        case hf.HFValidationError():
            return ModelNameError(f"{repo!r} is no repository name", hint="write OWNER/REPO")
        case hf.OfflineModeIsEnabled():
            return _offline(repo)
        case hf.LocalEntryNotFoundError() if error.__cause__:
            return _explain(error.__cause__, repo)
        case hf.FileMetadataError():
            return _not_the_hub()
        case hf.HfHubHTTPError():
            return _explain_status(error.response, repo)
        case httpx2.HTTPError() | httpx2.InvalidURL():
            return NetworkError(
                f"cannot get {repo} from {constants.ENDPOINT}: {_first_line(error)}",
                hint="check the connection (and HF_ENDPOINT); the same command goes on from here",
            )
        case OSError() | RuntimeError():
            return _explain_system(error, repo)
    return None


def _explain_status(response: httpx2.Response, repo: str) -> LokalError:
    status = response.status_code
    if status == 401 and "Authorization" not in response.request.headers:
        return _not_found(repo)  # the Hub does not tell strangers which
    if status == 401:
        return AccessError(
            "the Hub does not know the access token",
            hint="HF_TOKEN is invalid: unset it, or log in again with `hf auth login`",
        )
    if status == 403:
        return AccessError(
            f"the Hub refuses {repo}",
            hint="the token may lack the right to read it, or a proxy may block it",
        )
    why = "asks to slow down" if status == 429 else "failed"
    return NetworkError(
        f"the Hub {why} (HTTP {status})", hint="run the same command again in a few minutes"
    )


def _explain_system(error: OSError | RuntimeError, repo: str) -> LokalError | None:
    """Failures of the disk, and Xet's, which come without a type or an errno of their own."""
    text = _first_line(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return SpaceError(
            f"the disk filled up while {repo} was on its way to {cache.root()}",
            hint="free some space, choose a smaller quantization, or set HF_HUB_CACHE",
        )
    if type(error).__module__ == "hf_xet" or isinstance(error, RuntimeError):
        return NetworkError(
            f"cannot get {repo}: {text}",
            hint="run the same command again, or set HF_HUB_DISABLE_XET=1",
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return UsageError(
            f"cannot write to the cache {cache.root()}: {error.strerror}",
            hint="set HF_HUB_CACHE to a directory that you may write to",
        )
    if "Consistency check failed" in text:
        return IntegrityError(f"{repo} arrived incomplete", hint="run the same command again")
    return None


def _not_found(repo: str) -> ModelNameError:
    return ModelNameError(
        f"{repo} does not exist, or is private",
        hint="check the spelling; if it is private, set HF_TOKEN",
    )


def _offline(repo: str) -> OfflineError:
    return OfflineError(
        f"{repo} is not in the cache, and the network is switched off",
        hint="go online (see --offline, HF_HUB_OFFLINE), or choose from `llm ls`",
    )


def _not_the_hub() -> NetworkError:
    return NetworkError(
        "what answers is not the Hub",
        hint="does this network have a login page? Otherwise check HF_ENDPOINT and proxies",
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
