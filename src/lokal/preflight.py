"""Header first: what can be refused after a few megabytes, before the rest is fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lokal import gguf
from lokal.catalog import quants
from lokal.errors import ArchitectureError, SpaceError
from lokal.hardware.context import LEAST, MAX_CONTEXT
from lokal.hardware.fit import Room, needs
from lokal.hub.client import Offer

_FIRST_LOOK = 4 << 20  # bytes; enough for vocabularies of up to 100,000 tokens or so
_PROCESS = 64 << 20  # bytes for Python and the libraries


class Machine(NamedTuple):
    """What a model may take and llama.cpp can load; `memory` in bytes, None if unknown."""

    memory: int | None
    knows: Callable[[str], bool]

    @classmethod
    def here(cls) -> Machine:
        """This machine: its whole memory, as what else runs here may end, and its GPUs' memory."""
        from lokal.engine import build
        from lokal.hardware.devices import devices, gpus
        from lokal.hardware.memory import total_bytes

        total = total_bytes()
        if total is not None and build.supports_gpu():
            usable = gpus(devices(build.ggml()))
            total += sum(each.total for each in usable if not each.shares_memory)
        return cls(total, build.knows)


class Preflight:
    """A `lokal.hub.client.Check`; `ctx` is the context in tokens that was asked for, if any.

    `kv_types` are those of keys and values; weights that may be `mapped`, and come and go, count
    for nothing.
    """

    def __init__(
        self,
        ctx: int | None = None,
        kv_types: tuple[str, str] = ("f16", "f16"),
        *,
        mapped: bool = False,
        machine: Machine | None = None,
    ) -> None:
        self._ctx, self._kv_types, self._mapped = ctx, kv_types, mapped
        self._machine = machine

    def __call__(self, offer: Offer, start: Callable[[int], bytes]) -> None:
        """Refuse what llama.cpp cannot load, or this machine cannot hold.

        Raises:
            LoadError: any leaf, as `gguf.check`.
            SpaceError: too large; the hint names what fits.
        """
        machine = self._machine or Machine.here()
        header = _header(offer, start)
        if not machine.knows(header.architecture):
            raise ArchitectureError(
                f"{offer.chosen.name} is of architecture {header.architecture!r}, which the"
                " installed llama.cpp does not know",
                hint="a newer one may: pip install -U llama-cpp-python; --force pulls it anyway",
            )
        if machine.memory is not None and not self._mapped:
            self._check_memory(offer, header, machine.memory)

    def _check_memory(self, offer: Offer, header: gguf.Header, memory: int) -> None:
        ctx = min(self._ctx or min(header.context_length or LEAST, LEAST), MAX_CONTEXT)
        keys, values = self._kv_types
        needed = needs(header, Room(ctx, key_type=keys, value_type=values))
        # Of a model in shards the header knows the weights of the first one only.
        beside = needed.total - needed.weights + _PROCESS
        total = offer.chosen.size(offer.sizes) + beside
        if total <= memory:
            return
        fitting = [
            weights
            for weights in quants.group(offer.sizes)
            if weights.complete and weights.size(offer.sizes) + beside <= memory
        ]
        raise SpaceError(
            f"{offer.chosen.name} needs {total / 1e9:.1f} GB of memory with a context of {ctx}"
            f" tokens, this machine has {memory / 1e9:.1f} GB",
            hint=_what_fits(offer, fitting) + "; llm pull --force fetches it anyway",
        )


def _header(offer: Offer, start: Callable[[int], bytes]) -> gguf.Header:
    chosen = offer.chosen
    size = chosen.size(offer.sizes) if chosen.raw_parts else offer.sizes[chosen.first]
    look = min(_FIRST_LOOK, size)
    while True:
        try:
            return gguf.check_start(f"{offer.repo}/{chosen.first}", start(look), size)
        except gguf.NeedMore as more:
            look = min(size, max(more.size, 2 * look))


def _what_fits(offer: Offer, fitting: list[quants.Weights]) -> str:
    if not fitting:
        return f"nothing in {offer.repo} fits"
    best = max(fitting, key=lambda weights: weights.size(offer.sizes))
    size = best.size(offer.sizes) / 1e9
    return f"the largest that fits is hf.co/{offer.repo}:{best.name} ({size:.2f} GB)"
