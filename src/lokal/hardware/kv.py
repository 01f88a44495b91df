"""Bytes of what a context remembers: keys and values, or a state.

After llama_model::create_memory and the load_arch_hparams of src/models in llama.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lokal.hardware.kv_types import TYPES
from lokal.hardware.sizes import Sizes, padded

if TYPE_CHECKING:
    from lokal.gguf import Header
    from lokal.hardware.fit import Room

STEP = 256  # cells; contexts and windows are padded to this
_UBATCH = 512  # tokens computed at once; llama.cpp's default
_STATE = 4  # bytes of a number in a recurrent state

_RECURRENT = {"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
# Layers without key-value heads keep a state. Those of falcon-h1 all keep both.
_HYBRID = {"jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe"}
_HYBRID |= {"kimi-linear", "kimi-k3", "bailingmoe3", "glm5-next"}
_INTERVAL = {"qwen3next", "qwen35", "qwen35moe", "qwen4exp", "minimax-01"}
_STATEFUL = _RECURRENT | _HYBRID | _INTERVAL | {"falcon-h1", "deepseek4"}

# Which layers see a window: of so many all but the last, or all but the first; and the window's
# size in tokens, where the header need not say it.
_WINDOWS = {
    "gemma2": (2, False, 4096), "gemma3": (6, False, 0), "gemma3n": (5, False, 0),
    "gpt-oss": (2, False, 0), "cohere2": (4, False, 0), "cohere2moe": (4, True, 0),
    "olmo2": (4, False, 0), "exaone-moe": (4, False, 128), "smallthinker": (4, True, 0),
    "plamo3": (8, False, 0), "afmoe": (4, False, 0), "mellum": (4, False, 0),
    "laguna": (4, True, 0), "muse-glimmer": (4, False, 0), "llama4": (4, False, 8192),
}  # fmt: skip
# Windows that a header states and llama.cpp does not keep to.
_NO_WINDOWS = {"phi3"}


class Cells(NamedTuple):
    """Cells of one stream, of layers that see all tokens and of those that see a window."""

    streams: int
    base: int
    window: int

    def of(self, windowed: bool) -> int:
        return self.window if windowed else self.base


def ubatch(room: Room) -> int:
    """The most tokens that are computed at once."""
    return max(1, min(_UBATCH, room.n_batch, room.n_cells))


def cells(sizes: Sizes, room: Room) -> Cells:
    streams = max(1, room.n_streams)
    base = padded(padded(max(1, room.n_cells), STEP) // streams, STEP)
    if room.whole_windows:
        return Cells(streams, base, base)
    sharing = room.n_slots if streams == 1 else 1
    seen = min(base, window_size(sizes) * sharing + ubatch(room))
    return Cells(streams, base, padded(seen, STEP))


def window_size(sizes: Sizes) -> int:
    """Tokens that the layers with a window see; 0 without such layers."""
    if sizes.architecture in _NO_WINDOWS:
        return 0
    default = _WINDOWS.get(sizes.architecture, (0, False, 0))[2]
    size = sizes.number("attention.sliding_window", default)
    fixed = {"llama4": 8192, "smallthinker": 4096}.get(sizes.architecture, size)
    return fixed if size else 0


def windowed(sizes: Sizes) -> list[bool]:
    """Which layers see a window; where it is not known, all of them see everything."""
    if not window_size(sizes):
        return [False] * sizes.blocks
    listed = sizes.numbers("attention.sliding_window_pattern")
    if listed:
        return [bool(seen) for seen in sizes.per_layer("attention.sliding_window_pattern")]
    if sizes.architecture in ("lfm2", "lfm2moe"):
        return [count > 0 for count in sizes.kv_heads]
    period, first, _ = _WINDOWS.get(sizes.architecture, (1, False, 0))
    period = sizes.number("attention.sliding_window_pattern", period)
    if period == 0:
        return [True] * sizes.blocks
    whole = 0 if first else period - 1
    return [layer % period != whole for layer in range(sizes.blocks)]


def keeps_state(header: Header) -> bool:
    """Whether there is a state of a whole sequence, of which no beginning can be taken over.

    As llm_arch_is_recurrent and llm_arch_is_hybrid have it.
    """
    return header.architecture in _STATEFUL


def recurrent(sizes: Sizes) -> list[bool]:
    """Which layers keep a state."""
    if sizes.architecture in _RECURRENT or sizes.architecture == "falcon-h1":
        return [True] * sizes.blocks
    if sizes.architecture in _HYBRID:
        ff = sizes.feed_forward if sizes.architecture.startswith("nemotron") else ()
        idle = [*map(bool, ff), *(False,) * (sizes.blocks - len(ff))]
        return [not heads and not off for heads, off in zip(sizes.kv_heads, idle, strict=True)]
    if sizes.architecture in _INTERVAL:
        if sizes.numbers("attention.recurrent_layers"):
            return [bool(kept) for kept in sizes.per_layer("attention.recurrent_layers")]
        interval = sizes.number("full_attention_interval", 4) or 1
        return [(layer + 1) % interval != 0 for layer in range(sizes.blocks)]
    return [False] * sizes.blocks


def state_size(sizes: Sizes) -> tuple[int, int]:
    """Numbers in one layer's state of one sequence: its convolution's, and the rest."""
    if head := sizes.number("wkv.head_size"):
        return sizes.number("token_shift_count", 2) * sizes.width, sizes.width * head
    if kernel := sizes.number("shortconv.l_cache"):
        return sizes.width * (kernel - 1), 0
    kernel = sizes.number("ssm.conv_kernel")
    heads = sizes.heads[0] if sizes.heads else 0
    if head := sizes.number("kda.head_dim"):
        return 3 * max(0, (kernel or 4) - 1) * heads * head, head * head * heads
    if sizes.architecture == "minimax-01":
        return 0, sizes.key**2 * heads
    inner, state = sizes.number("ssm.inner_size"), sizes.number("ssm.state_size")
    convolved = inner + 2 * sizes.number("ssm.group_count") * state
    return max(0, kernel - 1) * convolved, state * inner


def layer_bytes(sizes: Sizes, room: Room) -> list[int]:
    """Bytes of cache and state of each block."""
    at, keeps, sees = cells(sizes, room), recurrent(sizes), windowed(sizes)
    state = sum(state_size(sizes)) * _STATE * max(1, room.n_slots)
    with_cache = _with_cache(sizes)
    widths = [_cache_widths(sizes, layer, sees[layer]) for layer in range(sizes.blocks)]
    if not room.flash:  # values are laid out crosswise, for the widest layer
        widest = max((value for _, value in widths), default=0)
        widths = [(key, widest if value or not sizes.key_mla else 0) for key, value in widths]
    found = []
    for layer in range(sizes.blocks):
        size = state if keeps[layer] and layer < sizes.layers else 0
        if with_cache[layer]:
            key, value = widths[layer]
            row = row_bytes(key, room.key_type) + row_bytes(value, room.value_type)
            size += row * at.of(sees[layer]) * at.streams
        found.append(size)
    return found


def seen(sizes: Sizes, room: Room) -> list[int]:
    """Cells that a token may look at: in layers that see all of them, and in those with a window.

    Either may be missing.
    """
    at, kinds = cells(sizes, room), zip(_with_cache(sizes), windowed(sizes), strict=True)
    return [at.of(sees) for sees in sorted({sees for cached, sees in kinds if cached})]


def row_bytes(width: int, kind: str) -> int:
    """Bytes of so many numbers; the type is one of ggml's names."""
    block, size = TYPES[kind]
    return -(-width // block) * size


def value_width(sizes: Sizes) -> int:
    """Numbers in the values of one cell of the widest layer."""
    return 0 if sizes.key_mla else max(sizes.kv_heads, default=0) * sizes.value


def _cache_widths(sizes: Sizes, layer: int, sees_window: bool) -> tuple[int, int]:
    """Numbers in the keys and in the values of one cell."""
    heads, key, value = sizes.kv_heads[layer], sizes.key, sizes.value
    if sees_window:
        key = sizes.number("attention.key_length_swa", key)
        value = sizes.number("attention.value_length_swa", value)
    # Sparse attention keeps keys by which it chooses what to look at.
    index = sizes.number("attention.indexer.key_length")
    return heads * key + index, 0 if sizes.key_mla else heads * value


def _with_cache(sizes: Sizes) -> list[bool]:
    """Which layers have keys and values of their own."""
    count, keeps = sizes.layers, recurrent(sizes)
    if sizes.architecture in _RECURRENT:
        count = 0
    elif sizes.architecture == "gemma3n":
        count = min(count, 20)
    elif sizes.architecture == "gemma4":
        count = max(0, count - sizes.number("attention.shared_kv_layers"))
    both = sizes.architecture == "falcon-h1"
    silent = sizes.architecture.startswith("nemotron_h")  # a feed-forward network is all they are
    return [
        layer < count
        and (both or not keeps[layer])
        and not (silent and sizes.feed_forward[layer] > 0)
        for layer in range(sizes.blocks)
    ]
