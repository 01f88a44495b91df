"""A prompt that goes on where a conversation stopped, in the tokens that the model wrote then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lokal.engine.prefix import common


def continued(
    tokens: Sequence[int], held: Sequence[int], spell: Callable[[int], bytes]
) -> tuple[int, ...]:
    """The prompt `tokens`, with as much of its beginning as can be in the tokens that are `held`.

    A model writes "hel" and "lo" where its vocabulary cuts "hello", and a KV cache that holds the
    one is of no use for the other. So what is spelled the same is taken as it is held. `spell`
    gives the bytes of a token, never none.
    """
    tokens, held = tuple(tokens), tuple(held)
    start = common(tokens, held)
    ours, theirs = [*map(spell, tokens[start:])], [*map(spell, held[start:])]
    n_bytes = common(b"".join(ours), b"".join(theirs))
    our_ends, their_ends = _ends(ours), _ends(theirs)
    end = max(place for place in our_ends.keys() & their_ends.keys() if place <= n_bytes)
    return held[: start + their_ends[end]] + tokens[start + our_ends[end] :]


def _ends(pieces: Sequence[bytes]) -> dict[int, int]:
    """How many tokens there are up to each place where one ends, in bytes."""
    ends, place = {0: 0}, 0
    for count, piece in enumerate(pieces, 1):
        place += len(piece)
        ends[place] = count
    return ends
