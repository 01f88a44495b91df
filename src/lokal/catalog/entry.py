"""One variant of one model, as models.toml describes it.

Plain dataclasses, or named tuples that are made faster still, because pydantic takes 80 ms to
import and every command reads an entry. The registry lets pydantic check them where a person other
than us wrote the tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from lokal.settings import expand

_DATA = Path(__file__).parents[1] / "data"
_WORD = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"{_WORD}(:{_WORD})?")


class _Strict:
    """pydantic's configuration of a dataclass: an unknown field is an error."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class License(_Strict):
    """Under what terms the weights may be used; `id` is SPDX's, or starts with LicenseRef-."""

    id: str
    name: str
    url: str
    open_source: bool


@dataclass(frozen=True, kw_only=True)
class Origin(_Strict):
    """Who made the weights, and the page where they published them, if there is one."""

    name: str
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling(_Strict):
    """What the makers recommend; None where they say nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and (value < 0 or (name in ("top_p", "min_p") and value > 1)):
                raise ValueError(f"{name} is out of range")

    def as_dict(self) -> dict[str, float]:
        """What the makers do say."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ReasoningMarks(NamedTuple):
    """How a model marks its reasoning: between `open` and `close`, or in these `channels`.

    `switch` is the variable of its chat template that turns reasoning on and off, None if it
    always reasons.
    """

    open: str = ""
    close: str = ""
    channels: tuple[str, ...] = ()
    switch: str | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> ReasoningMarks:
        """Build it from a table that has these fields."""
        return cls(**{**table, "channels": tuple(table.get("channels", ()))})

    @property
    def whole(self) -> bool:
        """Whether it says how: by both tags, or by channels."""
        tags = [bool(self.open.strip()), bool(self.close.strip())]
        return tags == [not self.channels] * 2 and all(self.channels)


@dataclass(frozen=True, kw_only=True)
class Entry(_Strict):
    """One variant of one model: from a repository, embedded in the package, or a user's own file.

    `ref` is the canonical name. `size` (of the default quantization) and `size_range` (smallest
    and largest) are in bytes; `context` is in tokens and caps what the file declares. models.toml
    explains every field.
    """

    ref: str
    title: str
    license: License
    origin: Origin
    confidence: Literal["seen", "pattern", "inferred"]
    repo: str | None = None
    file: str | None = None
    embedded: str | None = None
    path: str | None = None
    sha256: str | None = None
    quant: str = "Q4_K_M"
    split: Literal["shards", "parts"] | None = None
    size: int | None = None
    size_range: tuple[int, int] | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    context: int | None = None
    architecture: str | None = None
    base: bool = False
    template: str | None = None
    reasoning: ReasoningMarks | None = None
    sampling: Sampling = Sampling()
    notes: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        places = [self.repo, self.embedded, self.path]
        if sum(map(bool, places)) != 1 or bool(self.repo) != bool(self.file):
            raise ValueError("give either repo and file, or embedded, or path")
        for name in (self.ref, *self.aliases):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no NAME or NAME:VARIANT in lower case")
        if self.context is not None and self.context < 1:
            raise ValueError("context must be positive")
        if self.reasoning is not None and not self.reasoning.whole:
            raise ValueError("reasoning needs either open and close, or channels")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Entry:
        """Build an entry from a table that is known to be right."""
        fields = dict(table)
        fields["license"] = License(**fields["license"])
        fields["origin"] = Origin(**fields["origin"])
        if "reasoning" in fields:
            fields["reasoning"] = ReasoningMarks.from_table(fields["reasoning"])
        sampling = dict(fields.get("sampling", {}))
        if "top_k" in sampling:
            sampling["top_k"] = int(sampling["top_k"])
        fields["sampling"] = Sampling(**sampling)
        fields["aliases"] = tuple(fields.get("aliases", ()))
        for key in fields.keys() & {"size", "parameters", "active_parameters", "context"}:
            fields[key] = int(fields[key])  # written as 7.25e9, for people
        if "size_range" in fields:
            smallest, largest = fields["size_range"]
            fields["size_range"] = int(smallest), int(largest)
        return cls(**fields)

    def filename(self, quant: str | None = None) -> str | None:
        """The file to expect in the repository, without shard number; None without repository."""
        return self.file.replace("{quant}", quant or self.quant) if self.file else None

    def quant_of(self, file: str) -> str | None:
        """The quantization that a file of the repository is of; None if it is another model's."""
        if self.file is None:
            return None
        if "{quant}" not in self.file:
            return self.quant if file.lower() == self.file.lower() else None
        first, *others = map(re.escape, self.file.split("{quant}"))
        pattern = first + r"(?P<quant>[\w-]+)" + "(?P=quant)".join(others)
        match = re.fullmatch(pattern, file, re.IGNORECASE)
        if match and match["quant"].lower() == self.quant.lower():
            return self.quant
        return match["quant"] if match else None

    def embedded_path(self) -> Path | None:
        """The weights inside the package or at `path`; None if they come from a repository."""
        if self.path:
            return expand(self.path)
        return _DATA / self.embedded if self.embedded else None
