"""The Hub and the token: the only checks that use the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from lokal.doctor.finding import Finding, failed, note, ok, warning
from lokal.doctor.patience import LateError, within
from lokal.errors import AccessError, NetworkError
from lokal.hub import account
from lokal.settings import Settings

T = TypeVar("T")

# For a request as a whole: its own limit is for silence, and neither for looking up the name nor
# for an answer that arrives byte by byte.
_SECONDS = 8.0
_ONLINE = "it is asked without --offline, HF_HUB_OFFLINE and LOKAL_OFFLINE"


def check_hub(settings: Settings, say: Callable[[str], object]) -> Iterator[Finding]:
    """Whether the Hub answers, and knows the token, which is never shown; `say` tells of asking."""
    origin = _origin()
    if settings.offline:
        yield note("hub", "not asked, the network is switched off", _ONLINE)
        if isinstance(origin, str):
            yield note("token", f"from {origin}, not checked", _ONLINE)
    else:
        url = account.endpoint()
        say(f"asking {url} (not with --offline)")
        start = time.perf_counter()
        try:
            _in_time(account.reach)
        except NetworkError as error:
            yield failed("hub", error)
            if isinstance(origin, str):
                yield note("token", f"from {origin}, not checked", "see the Hub above")
        else:
            yield ok("hub", f"{url} answers in {time.perf_counter() - start:.2f} s")
            if isinstance(origin, str):
                yield _check_token(origin)
    if origin is None:
        free = "for models that their owners hand out: `hf auth login`, or set HF_TOKEN"
        yield note("token", "none, and open models need none", free)
    elif isinstance(origin, Finding):
        yield origin


def _origin() -> str | Finding | None:
    try:
        return account.token_origin()
    except AccessError as error:
        return failed("token", error)


def _check_token(origin: str) -> Finding:
    try:
        return ok("token", f"from {origin}, valid for {_in_time(account.whoami)}")
    except AccessError as error:
        return failed("token", error)._replace(message=f"{error.message} (from {origin})")
    except NetworkError as error:
        return warning("token", f"from {origin}, not checked: {error.message}", error.hint)


def _in_time(ask: Callable[[], T]) -> T:
    try:
        return within(_SECONDS, ask)
    except LateError:
        raise NetworkError(
            f"{account.endpoint()} has not answered within {_SECONDS:.0f} seconds",
            hint="check the connection, name servers and proxies; models that are here run without",
        ) from None
