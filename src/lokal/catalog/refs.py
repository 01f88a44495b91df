"""Text that names a model, taken apart: pure, no file system, no registry.

NAME[:VARIANT][@QUANT]                  mistral, mixtral:8x7b, mistral@Q5_K_M
[hf.co/]OWNER/REPO[:QUANT or FILE]      also huggingface.co/ and https://huggingface.co/
PATH                                    ends in .gguf, or starts with / ./ ../ ~ or a drive
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple, TypeAlias

from lokal.errors import ModelNameError


class NameRef(NamedTuple):
    """A model of the registry, spelled as the user did (the registry ignores case)."""

    name: str
    variant: str | None = None
    quant: str | None = None

    def __str__(self) -> str:
        variant = f":{self.variant}" if self.variant else ""
        quant = f"@{self.quant}" if self.quant else ""
        return f"{self.name}{variant}{quant}"


class RepoRef(NamedTuple):
    """A repository on the Hub, `OWNER/REPO`; `selector` is a quantization or a full file name."""

    repo: str
    selector: str | None = None

    def __str__(self) -> str:
        # With the host, because a bare `OWNER/x.gguf` would be a path.
        return f"hf.co/{self.repo}:{self.selector}" if self.selector else f"hf.co/{self.repo}"


class PathRef(NamedTuple):
    """A file on this machine; `~` is not expanded yet."""

    path: str

    def __str__(self) -> str:
        return self.path


Ref: TypeAlias = NameRef | RepoRef | PathRef

_MAX_LENGTH = 4096  # the longest path that Linux takes
_FORMS = "write NAME[:VARIANT][@QUANT], OWNER/REPO[:QUANT], or the path of a .gguf file"

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"({_WORD})(?::({_WORD}))?(?:@({_WORD}))?")
# huggingface_hub's own rule (utils/_validators.py), apart from "--", ".." and ".git" below.
_REPO = re.compile(r"\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b", re.ASCII)
_HOST = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)
_PATH_START = re.compile(r"[/\\~]|\.\.?[/\\]|[A-Za-z]:[/\\]")
_FILE_PAGE = re.compile(r"([^/]+/[^/]+)/(?:blob|resolve)/[^/]+/([^?]+)(?:\?.*)?")


def parse(text: str) -> Ref:
    """Take a model's name apart.

    Raises:
        ModelNameError: the text has none of the three forms.
    """
    if not text.strip():
        raise ModelNameError("the model name is empty", hint=_FORMS)
    if len(text) > _MAX_LENGTH:
        raise ModelNameError(f"the model name has {len(text)} characters", hint=_FORMS)
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise ModelNameError(f"{text!r} has a control character in it", hint=_FORMS)
    if host := _HOST.match(text):
        return _repo(text[host.end() :].removesuffix("/"), text)
    if "://" in text:
        raise ModelNameError(f"{text!r} is not a link to huggingface.co", hint=_FORMS)
    if _PATH_START.match(text):
        return PathRef(text)
    left, colon, _ = text.partition(":")
    if text.lower().endswith(".gguf") and not (colon and "/" in left):
        return PathRef(text)
    if any(char.isspace() for char in text):
        raise ModelNameError(f"{text!r} has a space in it", hint=_FORMS)
    return _repo(text, text) if "/" in left else _name(text)


def _name(text: str) -> NameRef:
    if match := _NAME.fullmatch(text):
        return NameRef(*match.groups())
    if text.count(":") > 1:
        raise ModelNameError(f"{text!r} has too many colons", hint=_FORMS)
    if "@" in text and ":" in text.partition("@")[2]:
        raise ModelNameError(f"{text!r} has its parts in the wrong order", hint=_FORMS)
    raise ModelNameError(f"{text!r} is no model name", hint=_FORMS)


def _repo(path: str, text: str) -> RepoRef:
    if page := _FILE_PAGE.fullmatch(path):
        hint = f"for that file write {page[1]}:{page[2]}"
        raise ModelNameError(f"{text!r} is a link to a single file", hint=hint)
    repo, colon, selector = path.partition(":")
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise ModelNameError(f"{text!r} is no repository name", hint=_FORMS)
    if not colon:
        return RepoRef(repo)
    if ":" in selector:
        raise ModelNameError(f"{text!r} has too many colons", hint=_FORMS)
    steps = set(selector.split("/"))
    if not selector.isprintable() or " " in selector or "\\" in selector or {"", ".", ".."} & steps:
        raise ModelNameError(f"{selector!r} is no quantization and no file name", hint=_FORMS)
    return RepoRef(repo, selector)
