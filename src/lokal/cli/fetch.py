"""The weights for a verb that runs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lokal.cli.output import note
from lokal.settings import Settings
from lokal.weights import Source, Weights, obtain

if TYPE_CHECKING:
    from lokal.engine.prompt import PromptOptions
    from lokal.hub.client import Progress
    from lokal.loading import LoadOptions


class Wanted(Protocol):
    """What the options of such a verb have in common."""

    @property
    def load(self) -> LoadOptions:
        """How the model is to be loaded."""

    @property
    def form(self) -> PromptOptions:
        """How it is to be addressed."""

    @property
    def template(self) -> str | None:
        """The text of a chat template of the user's."""

    @property
    def quiet(self) -> bool:
        """Whether nobody wants lines for people."""


def fetched(source: Source, surroundings: Settings, options: Wanted) -> Weights:
    """The weights, fetched if they are not here yet, with progress unless nobody wants it.

    They have the user's chat template, if there is one; that there is none at all is said, unless
    the model is to complete raw text.

    Raises:
        LokalError: as from `obtain`.
    """

    def shown() -> Progress:
        from lokal.cli.ui import progress  # only a transfer needs it

        return progress(surroundings)

    weights = obtain(
        source,
        surroundings,
        None if options.quiet else shown,
        ctx=options.load.ctx,
        kv_types=options.load.kv_types(),
        mapped=options.load.mapped,
    )
    if options.template is not None:
        weights = weights._replace(own_template=options.template)
    if weights.template is None and not (options.form.raw or options.quiet):
        note(
            f"note: {weights.name} has no chat template, it completes the text as it is;"
            " --chat-template gives it one"
        )
    return weights
