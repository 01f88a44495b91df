"""The weights for a verb that runs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lokal.settings import Settings
from lokal.weights import Source, Weights, obtain

if TYPE_CHECKING:
    from lokal.hub.client import Progress


def fetched(source: Source, surroundings: Settings, *, ctx: int | None, quiet: bool) -> Weights:
    """The weights, fetched if they are not here yet, with progress unless nobody wants it.

    Raises:
        LokalError: as from `obtain`.
    """

    def shown() -> Progress:
        from lokal.cli.ui import progress  # only a transfer needs it

        return progress(surroundings)

    return obtain(source, surroundings, None if quiet else shown, ctx=ctx)
