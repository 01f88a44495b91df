"""Which files of a repository hold the weights that a user means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lokal.errors import AmbiguousError, ModelNameError

# Tried in this order where nobody names a quantization: the usual compromise, the only one that
# gpt-oss has, then ever larger ones.
PREFERENCE = ("Q4_K_M", "MXFP4", "Q5_K_M", "Q6_K", "Q8_0")

_SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_PART = re.compile(r"(?P<stem>.+)\.gguf\.part(?P<index>\d+)of(?P<count>\d+)", re.IGNORECASE)
# Files beside the weights that look like weights: projectors of vision and sound, importance
# matrices, draft models for speculative decoding.
_BESIDE = re.compile(r"(?:^|[-._])(?:mmproj|imatrix|draft)(?:[-._]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Weights:
    """One set of weights in a repository: a file, all shards of a split one, or all its raw parts.

    `stem` is the path without shard number and `.gguf`. `files` are in order: of shards the first
    one is loaded, raw parts are joined to one file called `name`.
    """

    stem: str
    files: tuple[str, ...]
    expected: int
    raw_parts: bool = False

    @property
    def complete(self) -> bool:
        return len(self.files) == self.expected

    @property
    def name(self) -> str:
        """The file's path, as if it had never been split."""
        return f"{self.stem}.gguf"

    @property
    def first(self) -> str:
        """The path of what is loaded, once everything is here."""
        return self.name if self.raw_parts else self.files[0]

    def size(self, sizes: Mapping[str, int]) -> int:
        """Bytes of all files together, as far as `sizes` tells them by path."""
        return sum(sizes.get(path, 0) for path in self.files)

    def is_named(self, selector: str) -> bool:
        """Whether the selector is a full file name, with or without its folders."""
        wanted = selector.lower()
        if part := _PART.fullmatch(wanted):
            wanted = f"{part['stem']}.gguf"  # once joined, there are no parts any more
        return any(
            wanted in (path.lower(), path.lower().rpartition("/")[2])
            for path in (self.name, *self.files)
        )

    def has_tag(self, tag: str, *, plain: bool) -> bool:
        """Whether the path carries the tag; `plain`: not merely as `UD-TAG` or `i1-TAG`.

        The tag stands between separators, so F16 is not found in BF16 nor Q4_K in Q4_K_M.
        """
        before = r"[-._/]" + (r"(?<![-._/]ud-)(?<![-._/]i1-)" if plain else "")
        found = re.search(rf"{before}{re.escape(tag.lower())}(?:$|[-./])", f"/{self.stem.lower()}")
        return found is not None


def choose(
    files: Iterable[str],
    selector: str | None = None,
    prefer: Sequence[str] = PREFERENCE,
    sizes: Mapping[str, int] | None = None,
) -> Weights:
    """Choose the weights out of a repository's listing.

    The selector is a quantization or a full file name. `prefer` lists both kinds as well, and
    decides where the selector (or its absence) leaves several sets of weights. `sizes` in bytes,
    by path, are what an error shows beside the choices.

    Raises:
        ModelNameError: nothing fits, or a piece of what fits is missing.
        AmbiguousError: several sets fit.
    """
    found = group(files)
    sizes = sizes or {}
    if not found:
        raise ModelNameError("there is no GGUF file to choose", hint="choose a GGUF repository")
    fitting = found if selector is None else _matching(found, selector)
    if not fitting:
        raise ModelNameError(f"no file matches {selector!r}", hint=_choices(found, sizes))
    for wanted in prefer:
        if len(fitting) == 1:
            break
        fitting = _matching(fitting, wanted) or fitting
    if len(fitting) > 1:
        what = f"{selector!r} matches" if selector else "there are"
        raise AmbiguousError(
            f"{what} {len(fitting)} sets of weights", hint=_choices(fitting, sizes)
        )
    weights = fitting[0]
    if not weights.complete:
        pieces = "parts" if weights.raw_parts else "shards"
        raise ModelNameError(
            f"{weights.name}: {len(weights.files)} of {weights.expected} {pieces} are there",
            hint="choose another quantization or repository",
        )
    return weights


def group(files: Iterable[str]) -> list[Weights]:
    """Sort a listing into sets of weights, by name; what is not weights is left out.

    Of the same weights split in different ways, the complete set with the fewest files stays.
    """
    cuts: dict[tuple[str, bool, int], dict[int, str]] = {}
    for path in files:
        if _BESIDE.search(path.rpartition("/")[2]):
            continue
        if match := _SHARD.fullmatch(path) or _PART.fullmatch(path):
            index, count = int(match["index"]), int(match["count"])
            if 1 <= index <= count:
                cuts.setdefault((match["stem"], match.re is _PART, count), {})[index] = path
        elif path.lower().endswith(".gguf"):
            cuts[path[: -len(".gguf")], False, 1] = {1: path}
    best: dict[str, Weights] = {}
    for (stem, raw_parts, count), numbered in sorted(cuts.items()):
        ordered = tuple(numbered[index] for index in sorted(numbered))
        weights = Weights(stem, ordered, expected=count, raw_parts=raw_parts)
        if stem not in best or (weights.complete and not best[stem].complete):
            best[stem] = weights
    return list(best.values())


def _matching(found: list[Weights], selector: str) -> list[Weights]:
    return (
        [weights for weights in found if weights.is_named(selector)]
        or [weights for weights in found if weights.has_tag(selector, plain=True)]
        or [weights for weights in found if weights.has_tag(selector, plain=False)]
    )


def _choices(found: list[Weights], sizes: Mapping[str, int]) -> str:
    names = []
    for weights in found:
        size = weights.size(sizes)
        names.append(f"{weights.name} ({size / 1e9:.2f} GB)" if size else weights.name)
    return "choose one of: " + ", ".join(names)
