"""The weights for a verb that runs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lokal.cli.output import note
from lokal.settings import Settings
from lokal.weights import Source, Weights, obtain

if TYPE_CHECKING:
    from lokal.hub.client import Progress


def fetched(
    source: Source,
    surroundings: Settings,
    *,
    ctx: int | None,
    quiet: bool,
    template: str | None = None,
    raw: bool = False,
) -> Weights:
    """The weights, fetched if they are not here yet, with progress unless nobody wants it.

    `template` is a chat template of the user's; that there is none at all is said, unless the model
    is to complete raw text.

    Raises:
        LokalError: as from `obtain`.
    """

    def shown() -> Progress:
        from lokal.cli.ui import progress  # only a transfer needs it

        return progress(surroundings)

    weights = obtain(source, surroundings, None if quiet else shown, ctx=ctx)
    if template is not None:
        weights = weights._replace(own_template=template)
    if weights.template is None and not (raw or quiet):
        note(
            f"note: {weights.name} has no chat template, it completes the text as it is;"
            " --chat-template gives it one"
        )
    return weights
