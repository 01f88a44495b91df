"""One variant of one model, as models.toml describes it.

Plain dataclasses, because pydantic takes 80 ms to import and every command reads an entry. The
registry lets pydantic check them where a person other than us wrote the tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

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


@dataclass(frozen=True, kw_only=True)
class Entry(_Strict):
    """One variant of one model, ready for use: from a repository, or embedded in the package.

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
    sampling: Sampling = Sampling()
    notes: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.embedded) == bool(self.repo) or bool(self.repo) != bool(self.file):
            raise ValueError("give either repo and file, or embedded")
        for name in (self.ref, *self.aliases):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no NAME or NAME:VARIANT in lower case")
        if self.context is not None and self.context < 1:
            raise ValueError("context must be positive")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Entry:
        """Build an entry from a table that is known to be right."""
        fields = dict(table)
        fields["license"] = License(**fields["license"])
        fields["origin"] = Origin(**fields["origin"])
        fields["sampling"] = Sampling(**fields.get("sampling", {}))
        fields["aliases"] = tuple(fields.get("aliases", ()))
        for key in fields.keys() & {"size", "parameters", "active_parameters"}:
            fields[key] = int(fields[key])  # written as 7.25e9, for people
        if "size_range" in fields:
            smallest, largest = fields["size_range"]
            fields["size_range"] = int(smallest), int(largest)
        return cls(**fields)

    def filename(self, quant: str | None = None) -> str | None:
        """The file to expect in the repository, without shard number; None if embedded."""
        return self.file.replace("{quant}", quant or self.quant) if self.file else None

    def embedded_path(self) -> Path | None:
        """The weights inside the package; None if they come from a repository."""
        return _DATA / self.embedded if self.embedded else None
