"""What goes wrong between here and the Hub: what passes when tried again, and what to say."""

from __future__ import annotations

import contextlib
import errno
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

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
from lokal.hub.progress import Progress

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

_USERINFO = re.compile(r"(?<=://)\S*@")  # the name and the password in a URL
_BUSY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Pace:
    """How hard to try. `tries` without a single byte of progress, `timeout` in seconds of silence.

    A transfer takes `connections` at once, and asks for at most `piece` bytes in one request. A
    server that wants more than `longest_wait` seconds of patience gets none. Files of more than
    `largest` bytes the Hub serves through Xet only.
    """

    connections: int = 4
    piece: int = 64 << 20
    timeout: float = 20.0
    tries: int = 8
    longest_wait: float = 300.0
    largest: int = 50 * 10**9


class WrongAnswerError(Exception):
    """A server answered something else than it was asked for; the next time it may not."""


class WrongSizeError(WrongAnswerError):
    """The file behind a link has another size than the Hub announced."""


class NoRangesError(Exception):
    """The server sends whole files only."""


class ExpiredLinkError(Exception):
    """A signed link is no longer good; the Hub gives out a new one."""


def retrying(call: Callable[[], T], pace: Pace, progress: Progress) -> T:
    """Call again after what may pass, with growing pauses."""
    for attempt in range(1, pace.tries):
        try:
            return call()
        except Exception as error:
            seconds = pause(error, attempt, pace)
            if seconds is None:
                raise
            progress.wait(seconds, reason(error))
            time.sleep(seconds)
    return call()


def pause(error: Exception, attempt: int, pace: Pace) -> float | None:
    """Seconds before the next try, or None if trying again cannot help.

    `attempt` counts from 1, and from the last byte that arrived.
    """
    import httpx2
    from huggingface_hub import errors as hf

    growing: float = min(0.5 * 2 ** (attempt - 1), 20.0)
    if attempt >= pace.tries:
        return None
    if isinstance(error, ExpiredLinkError):
        return 0.0 if attempt == 1 else growing
    if isinstance(error, WrongSizeError):
        return growing if attempt < 3 else None
    if isinstance(error, WrongAnswerError):
        return growing
    if isinstance(error, hf.HfHubHTTPError):
        if error.response.status_code not in _BUSY:
            return None
        asked = _asked_for(error.response)
        seconds = growing if asked is None else asked
        return seconds if seconds <= pace.longest_wait else None
    if isinstance(error, httpx2.TransportError):
        lasting = (httpx2.ProxyError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
        return None if isinstance(error, lasting) else growing
    return None


def _asked_for(response: httpx2.Response) -> float | None:
    """Seconds that the server asks us to wait, in either form that HTTP has for it."""
    from email.utils import parsedate_to_datetime

    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        parse_ratelimit_headers,
    )

    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    if text:
        with contextlib.suppress(ValueError):
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    if response.status_code == 429 and (limit := parse_ratelimit_headers(response.headers)):
        return float(limit.reset_in_seconds)
    return None


def reason(error: Exception) -> str:
    """Why we wait, in a few words."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    match error:
        case HfHubHTTPError() if error.response.status_code == 429:
            return "the Hub asked us to slow down"
        case HfHubHTTPError():
            return f"the Hub failed (HTTP {error.response.status_code})"
        case ExpiredLinkError():
            return "the download link expired"
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return "no connection"
        case httpx2.TimeoutException():
            return "no data arrives"
        case httpx2.TransportError():
            return "the connection broke"
    return first_line(error)


@contextlib.contextmanager
def explained(repo: str, revision: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into our own errors; what is unexpected stays as it is."""
    try:
        yield
    except LokalError:
        raise
    except Exception as error:
        known = explain(error, repo, revision)
        if known is None:
            raise
        raise known from error


def explain(error: BaseException, repo: str, revision: str) -> LokalError | None:
    """The error in our words, or None if it is not one of the network, the Hub or the disk."""
    import httpx2
    from huggingface_hub import errors as hf

    match error:
        case hf.GatedRepoError():  # before RepositoryNotFoundError, its parent
            return AccessError(
                f"{repo} is gated: its owners decide who may have it",
                hint=f"ask for access on {address()}/{repo}, then set HF_TOKEN",
            )
        case hf.DisabledRepoError():
            return AccessError(f"the Hub has disabled {repo}", hint="choose another repository")
        case hf.RepositoryNotFoundError():
            return _not_found(repo)
        case hf.RevisionNotFoundError():
            return ModelNameError(
                f"{repo} has no revision {revision!r}", hint="name a branch, a tag or a commit"
            )
        case hf.RemoteEntryNotFoundError():
            return ModelNameError(
                f"{repo} changed while it was read", hint="run the same command again"
            )
        case hf.HFValidationError():
            return ModelNameError(f"{repo!r} is no repository name", hint="write OWNER/REPO")
        case hf.OfflineModeIsEnabled():
            return offline(repo)
        case hf.LocalEntryNotFoundError() if error.__cause__:
            return explain(error.__cause__, repo, revision)
        case hf.FileMetadataError():
            return not_the_hub()
        case hf.HfHubHTTPError():
            return _explain_status(error.response, repo)
        case WrongSizeError():
            return IntegrityError(
                f"{repo}: {error}",
                hint="run the same command again, on another network if it lasts",
            )
        case httpx2.LocalProtocolError() | UnicodeEncodeError():
            return bad_token("has characters that no token has")
        case ExpiredLinkError() | WrongAnswerError() | httpx2.HTTPError() | httpx2.InvalidURL():
            return NetworkError(
                f"cannot get {repo} from {address()}: {first_line(error)}",
                hint="check the connection (and HF_ENDPOINT); the same command goes on from here",
            )
        case ImportError() | ValueError() if "proxy" in str(error).lower():
            return NetworkError(  # one of a kind that httpx2 does not know
                f"cannot get {repo} from {address()}: {first_line(error)}",
                hint="see HTTPS_PROXY, HTTP_PROXY and ALL_PROXY",
            )
        case OSError() | RuntimeError():
            return _explain_system(error, repo)
    return None


def _explain_status(response: httpx2.Response, repo: str) -> LokalError:
    status = response.status_code
    if status == 401 and "Authorization" not in response.request.headers:
        return _not_found(repo)  # the Hub does not tell strangers which
    if status == 401:
        return bad_token("is unknown to the Hub")
    if status == 403:
        return AccessError(
            f"the Hub refuses {repo}",
            hint="the token may lack the right to read it, or a proxy may block it",
        )
    if status == 404:
        return not_the_hub()
    why = "asks to slow down" if status == 429 else "failed"
    return NetworkError(
        f"the Hub {why} (HTTP {status})",
        hint="run the same command again in a few minutes; it goes on from here",
    )


def _explain_system(error: OSError | RuntimeError, repo: str) -> LokalError | None:
    """Failures of the disk, and Xet's, which come without a type or an errno of their own."""
    text = first_line(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return SpaceError(
            f"the disk filled up while {repo} was on its way to {cache.root()}",
            hint="free some space and run the same command again, or set HF_HUB_CACHE",
        )
    if number == errno.EFBIG:
        return SpaceError(
            f"{cache.root()} cannot hold a file of that size",
            hint="set HF_HUB_CACHE to a disk that can: FAT32 ends at 4 GB, a quota sooner",
        )
    if type(error).__module__ == "hf_xet" or isinstance(error, RuntimeError):
        return NetworkError(
            f"cannot get {repo}: {text}",
            hint="run the same command again, or set HF_HUB_DISABLE_XET=1",
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return UsageError(
            f"cannot write to the cache {cache.root()}: {getattr(error, 'strerror', text)}",
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


def offline(repo: str) -> OfflineError:
    return OfflineError(
        f"{repo} is not in the cache, and the network is switched off",
        hint="go online (see --offline, HF_HUB_OFFLINE), or choose from `llm ls`",
    )


def not_the_hub() -> NetworkError:
    return NetworkError(
        "what answers is not the Hub",
        hint="does this network have a login page? Otherwise check HF_ENDPOINT and proxies",
    )


def bad_token(why: str) -> AccessError:
    return AccessError(
        f"the access token {why}",
        hint="log in again with `hf auth login`, or unset HF_TOKEN: open models need no token",
    )


def address() -> str:
    """That of the Hub, or of the mirror which HF_ENDPOINT names, as people may see it."""
    from huggingface_hub import constants

    return _without_password(constants.ENDPOINT)


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return _without_password(text.splitlines()[0])


def _without_password(text: str) -> str:
    return _USERINFO.sub("", text)
