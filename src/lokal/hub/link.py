"""One file on the Hub, read in stretches."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lokal.hub.faults import (
    ExpiredLinkError,
    NoRangesError,
    WrongAnswerError,
    WrongSizeError,
    not_the_hub,
)

if TYPE_CHECKING:
    import httpx2

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_GONE = {400, 401, 403, 404, 410}  # what content networks say of a link that has expired


class Link:
    """A file behind `/resolve`, which redirects to a signed link that is good for an hour or so.

    The signed link is kept and asked directly, so that a file costs the Hub one request and not
    one for each stretch; when it has expired, `/resolve` gives the next one. The token in
    `headers` goes to the Hub only: httpx2 drops it when a redirect leaves the Hub's origin.
    """

    def __init__(self, url: str, size: int, headers: Mapping[str, str], timeout: float) -> None:
        self.url, self.size, self.timeout = url, size, timeout
        self._headers = headers
        self._signed: httpx2.URL | None = None

    def read(self, start: int, stop: int, *, whole: bool = False) -> Generator[tuple[int, bytes]]:
        """Yield (offset, bytes) from `start` on; the body may end before `stop`.

        `whole`: where the server knows no ranges, take the file from its beginning instead.

        Raises:
            NoRangesError: the server sends whole files only, and `whole` is false.
            ExpiredLinkError, WrongAnswerError: trying again may help.
            Exception: what httpx2 and huggingface_hub raise.
        """
        with self._get(start, stop) as response:
            at = self._begins(response, start, stop)
            if response.status_code == 200 and not whole and stop - start < self.size:
                raise NoRangesError
            for data in response.iter_raw():
                data = data[: stop - at]
                yield at, data
                at += len(data)
                if at >= stop:
                    return
        raise WrongAnswerError("the connection ended early")

    @contextmanager
    def _get(self, start: int, stop: int) -> Iterator[httpx2.Response]:
        from huggingface_hub import get_session
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        signed = self._signed
        headers = {
            **self._headers,
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",  # compressed bytes would arrive at other offsets
        }
        if signed:
            headers.pop("authorization", None)
        with get_session().stream(
            "GET",
            signed or self.url,
            headers=headers,
            timeout=self.timeout,
            follow_redirects=True,
        ) as response:
            elsewhere = signed or (
                response.history and response.url.origin != response.history[0].url.origin
            )
            if elsewhere and response.status_code in _GONE:
                self._signed = None
                raise ExpiredLinkError(f"HTTP {response.status_code}")
            if response.status_code == 416:
                raise WrongSizeError(f"the file ends before byte {start}")
            if response.status_code >= 400:
                hf_raise_for_status(response)
            if elsewhere:
                self._signed = response.url
            yield response

    def _begins(self, response: httpx2.Response, start: int, stop: int) -> int:
        """The offset of the body's first byte: `start`, or 0 if the server knows no ranges."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise WrongAnswerError("the file came compressed")
        if response.status_code == 206:
            said = response.headers.get("Content-Range", "")
            match = _CONTENT_RANGE.fullmatch(said)
            if not match or int(match[1]) != start or int(match[2]) >= stop:
                raise WrongAnswerError(f"asked for bytes {start}-{stop - 1}, got {said!r}")
            if match[3] not in ("*", str(self.size)):
                raise WrongSizeError(f"the file has {match[3]} bytes instead of {self.size}")
            return start
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise not_the_hub()
        if response.status_code != 200:
            raise WrongAnswerError(f"HTTP {response.status_code} in answer to a range")
        length = response.headers.get("Content-Length", str(self.size))
        if length != str(self.size):
            raise WrongSizeError(f"the file has {length} bytes instead of {self.size}")
        return 0
