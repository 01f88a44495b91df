"""Bytes of the buffer in which a batch is computed.

ggml's allocator gives a result the place of one that is needed no more, so the buffer is as large
as what must be there together at the worst moment: within attention, within a feed-forward
network, or at the logits. What these are is read off src/llama-graph.cpp and src/models in
llama.cpp. All are rows of 4-byte floats, one for each of the tokens that are computed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lokal.hardware import kv
from lokal.hardware.sizes import Sizes, padded

if TYPE_CHECKING:
    from lokal.hardware.fit import Room

_FLOAT, _INDEX, _HALF = 4, 8, 2  # bytes


def compute_bytes(sizes: Sizes, room: Room) -> int:
    """The buffer for the largest batch, with one row of logits for each sequence."""
    n_tokens = _n_tokens(room)
    within = max(
        _attention(sizes, room, n_tokens),
        _state(sizes, room, n_tokens),
        n_tokens * _FLOAT * _feed_forward(sizes),
    )
    # The logits come when masks are needed no more.
    logits = n_tokens * _FLOAT * 2 * sizes.width + result_bytes(sizes, room)
    return max(entry_bytes(sizes, room) + within, logits)


def result_bytes(sizes: Sizes, room: Room) -> int:
    """The logits as they are read: a row for each sequence."""
    return max(1, room.n_slots) * sizes.vocabulary * _FLOAT


def entry_bytes(sizes: Sizes, room: Room) -> int:
    """What stays from the first layer to the last: embeddings, masks, where values go."""
    row = sizes.width * _FLOAT
    for n_cells in kv.seen(sizes, room):
        row += n_cells * (_HALF if room.flash else _FLOAT)
        row += _INDEX * (1 if room.flash else 1 + kv.value_width(sizes))
    return _n_tokens(room) * row


def _n_tokens(room: Room) -> int:
    """Those of the largest batch."""
    return padded(kv.ubatch(room), max(1, room.n_slots))


def _attention(sizes: Sizes, room: Room, n_tokens: int) -> int:
    """The layer's input and its norm, queries and what comes of them; without flash all scores."""
    heads = max(sizes.heads, default=0)
    queries = heads * sizes.key
    row = 2 * sizes.width + 2 * queries
    size = n_tokens * row * _FLOAT
    if not room.flash:
        n_cells = max(kv.seen(sizes, room), default=0)
        size += heads * n_tokens * n_cells * _FLOAT
        if sizes.key_mla:  # values are a part of the keys, and turned around; so are queries
            size += sizes.value * n_cells * max(1, room.n_streams) * _HALF
            size += n_tokens * heads * sizes.key_mla * _FLOAT
    return size


def _feed_forward(sizes: Sizes) -> int:
    """Numbers a token: up, gate and their product, of each expert; around them what attention left.

    The experts' results find a place where up and gate were, if that is wide enough.
    """
    widest = max(sizes.feed_forward, default=0)
    dense = experts = 3 * widest
    if used := max(sizes.per_layer("expert_used_count"), default=0):
        each = max(sizes.per_layer("expert_feed_forward_length"), default=0) or widest
        results = used * sizes.width
        experts = 3 * used * each + (results if results > 2 * used * each else 0)
        if sizes.architecture == "grok":  # has both, side by side
            dense += 2 * sizes.width
    if not max(dense, experts):
        return 0
    queries = max(sizes.heads, default=0) * sizes.key
    return 2 * sizes.width + max(sizes.width, queries) + max(dense, experts)


def _state(sizes: Sizes, room: Room, n_tokens: int) -> int:
    """A layer that keeps a state: what goes into the convolution, comes out of it, and the scan."""
    if not any(kv.recurrent(sizes)):
        return 0
    convolution, state = kv.state_size(sizes)
    inner = sizes.number("ssm.inner_size")
    convolved = inner + 2 * sizes.number("ssm.group_count") * sizes.number("ssm.state_size")
    row = 2 * sizes.width + 2 * inner + 2 * convolved + 2 * inner
    if sizes.number("wkv.head_size"):
        row = 16 * sizes.width
    elif sizes.number("shortconv.l_cache"):
        row = 8 * sizes.width
    return (n_tokens * row + max(1, room.n_slots) * (convolution + state)) * _FLOAT
