"""What the Hub says about a repository, in one request; nothing in it is believed unseen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lokal.errors import IntegrityError, UsageError
from lokal.hub.faults import Pace, not_the_hub, retrying
from lokal.hub.progress import Progress

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PATIENCE = Pace(timeout=10, tries=3)
_HEX40, _HEX64 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
# What no name in a repository needs and some system reads as a way out of the directory.
_OUTSIDE = re.compile(r"(^|/)\.{0,2}(/|$)|[\\:\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class File:
    """A file of a repository; `size` in bytes.

    `etag` is its sha256, or (for a small file outside LFS) the SHA-1 that git gives it.
    """

    name: str
    size: int
    etag: str

    def digest(self) -> Any:
        """A hash object that ends at `etag` if the file is what it should be."""
        if _HEX64.fullmatch(self.etag):
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


@dataclass(frozen=True)
class Facts:
    """A repository at one commit, `files` by name."""

    repo: str
    commit: str
    files: Mapping[str, File]

    @property
    def sizes(self) -> dict[str, int]:
        return {file.name: file.size for file in self.files.values()}


def ask(api: HfApi, repo: str, revision: str, progress: Progress) -> Facts:
    """The commit that a revision is at, and its GGUF files.

    Raises:
        IntegrityError: the answer would lead out of the cache, or lacks sizes or checksums.
        NetworkError: what answers is not the Hub.
        Exception: what huggingface_hub raises; `faults.explained` translates it.
    """
    try:
        info = retrying(
            lambda: api.model_info(
                repo,
                revision=None if revision == "main" else revision,
                files_metadata=True,
                timeout=_PATIENCE.timeout,
            ),
            _PATIENCE,
            progress,
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise not_the_hub() from error
    if not (isinstance(info.sha, str) and _HEX40.fullmatch(info.sha)):
        raise not_the_hub()
    files = [_file(repo, sibling) for sibling in info.siblings or [] if _is_wanted(sibling)]
    return Facts(repo, info.sha, {file.name: file for file in files})


def check_revision(revision: str) -> None:
    """Raises: UsageError: this is no branch, tag or commit."""
    if _OUTSIDE.search(revision) or " " in revision or len(revision) > 200:
        raise UsageError(f"{revision!r} is no revision", hint="name a branch, a tag or a commit")


def is_commit(revision: str) -> bool:
    return bool(_HEX40.fullmatch(revision))


def _is_wanted(sibling: Any) -> bool:
    return ".gguf" in str(sibling.rfilename).lower()


def _file(repo: str, sibling: Any) -> File:
    name, size = sibling.rfilename, sibling.size
    if not isinstance(name, str) or _OUTSIDE.search(name):
        raise IntegrityError(
            f"{repo} has a file called {name!r}, which would lie outside the cache",
            hint="do not trust this repository, or whatever answers for the Hub",
        )
    etag = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    known = isinstance(etag, str) and (_HEX64 if sibling.lfs else _HEX40).fullmatch(etag)
    if not known or not isinstance(size, int) or size < 0:
        raise IntegrityError(
            f"the Hub gives no size or no checksum for {name}, so it cannot be verified",
            hint="if HF_ENDPOINT names a mirror, try without it",
        )
    return File(name, size, str(etag))
