"""What a model takes in memory, and whether this machine has it."""

from __future__ import annotations

from typing import NamedTuple

from lokal.gguf import Header
from lokal.hardware.graph import compute_bytes, entry_bytes, result_bytes
from lokal.hardware.kv import layer_bytes
from lokal.hardware.memory import total_bytes
from lokal.hardware.sizes import Sizes

# What llama.cpp keeps in main memory (LLM_TENSOR_LAYER_INPUT), and where it cannot do with flash
# attention.
_INPUT = {"token_embd", "position_embd", "token_types", "per_layer_token_embd"}
_NO_FLASH = {"grok"}
_SYSTEM = 10**9  # bytes that the system and whatever else runs keep for themselves


def estimate(size: int) -> int:
    """Memory for weights of that size, in bytes: a tenth more, and half a gigabyte.

    That holds the KV cache of some 4000 tokens and the buffers of the computation for nearly all
    models; exact numbers take a header.
    """
    return size + size // 10 + 5 * 10**8


def fits(size: int) -> bool | None:
    """Whether weights of that size run in the whole memory of this machine; None if unknown."""
    total = total_bytes()
    return None if total is None else estimate(size) + _SYSTEM <= total


class Room(NamedTuple):
    """What a context is made with.

    `n_cells` tokens of KV cache in all `n_streams` together, for `n_slots` sequence ids; at most
    `n_batch` tokens a batch. `key_type` and `value_type` are ggml's names, such as f16 and q8_0.
    `flash` is flash attention; `whole_windows` keeps all positions of layers that see a window.
    """

    n_cells: int
    n_streams: int = 1
    n_slots: int = 1
    n_batch: int = 2048
    key_type: str = "f16"
    value_type: str = "f16"
    flash: bool = True
    whole_windows: bool = False


class Layer(NamedTuple):
    """Bytes of one layer: its weights, those of them that are experts', its part of the cache."""

    weights: int
    experts: int
    kv: int


class Needs(NamedTuple):
    """Bytes that a model takes in memory.

    `input` are weights that always stay in main memory (token embeddings), `output` those of the
    output layer, which goes where the last layer goes. `compute` is the buffer of the computation
    on each device that takes part, `results` the rows of logits in main memory. `tied` is the part
    of `input` that is the output layer as well: a GPU with the output layer gets a copy of it.
    `entry` is what main memory holds of a batch even where GPUs compute all of it.
    """

    input: int
    layers: tuple[Layer, ...]
    output: int
    compute: int
    results: int
    tied: int = 0
    entry: int = 0

    @property
    def weights(self) -> int:
        return self.input + self.output + sum(layer.weights for layer in self.layers)

    @property
    def kv(self) -> int:
        return sum(layer.kv for layer in self.layers)

    @property
    def total(self) -> int:
        """All of it in main memory."""
        return self.weights + self.kv + self.compute + self.results


def needs(header: Header, room: Room) -> Needs:
    """What a model takes, by its header alone, as llama.cpp accounts for it.

    Weights and cache are exact for the architectures of the registry, the rest is within a tenth
    or some megabytes. Of a model in shards the header must be the one of all of them.
    """
    sizes = Sizes(header)
    if sizes.architecture in _NO_FLASH:
        room = room._replace(flash=False)
    weights, experts = [0] * sizes.blocks, [0] * sizes.blocks
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for name, _, _, _, nbytes in header.tensors:
        layer = _layer(name)
        if layer is None:
            part = name.partition(".")[0]
            side = first if part in _INPUT else last
            side[part] = side.get(part, 0) + nbytes
        elif layer < sizes.layers:  # the others are left where they are
            weights[layer] += nbytes
            if "exps." in name:
                experts[layer] += nbytes
    return Needs(
        sum(first.values()),
        tuple(map(Layer, weights, experts, layer_bytes(sizes, room))),
        sum(last.values()),
        compute_bytes(sizes, room),
        result_bytes(sizes, room),
        0 if "output" in last else first.get("token_embd", 0),
        entry_bytes(sizes, room),
    )


def _layer(tensor: str) -> int | None:
    """The number of the block that a tensor belongs to."""
    start, _, rest = tensor.partition(".")
    number = rest.partition(".")[0]
    return int(number) if start == "blk" and number.isdecimal() and len(number) < 5 else None
