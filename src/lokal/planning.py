"""What fits this machine of a model, and what goes where, before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from lokal.engine.offload import MAX_DEVICES
from lokal.engine.plan import Shape
from lokal.errors import GpuError
from lokal.hardware import context as sizing
from lokal.hardware.budget import Budget, Machine
from lokal.hardware.fit import Needs, Room, needs
from lokal.hardware.kv import STEP, keeps_state
from lokal.hardware.kv_types import PLAIN, check_kv_types
from lokal.hardware.memory import available_bytes, spelled
from lokal.hardware.placement import Placement
from lokal.hardware.sizes import padded
from lokal.loading import REPACK_BELOW, LoadOptions
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.hardware.devices import Device

SINGLE_BATCH = 2048  # tokens of a batch of one sequence; llama.cpp's own default
BATCH_TOKENS = 512  # tokens of a batch of many sequences; as many as llama.cpp computes at once
SMALL_CONTEXT = 2048  # tokens; of which each sequence gets a whole one
TYPICAL = 1024  # tokens; what a row of a batch is given room for, prompt and answer
SPARE_SLOTS = 32  # sequence ids that keep prefixes while all others are under way


class LoadPlan(NamedTuple):
    """How a model is to be opened; `needs` are what it will take.

    With `repack` llama.cpp copies weights into a layout that decodes single tokens faster.
    `load_mode` is llama.cpp's name for how the file is read.
    """

    context: sizing.Context
    shape: Shape
    placement: Placement
    needs: Needs
    repack: bool
    load_mode: str

    @property
    def memory(self) -> int:
        """Bytes of all memory that it will take."""
        return self.placement.in_memory(self.needs) + sum(self.placement.load(self.needs))


def machine(options: LoadOptions) -> Machine:
    """What this machine has left now, with the GPUs that the options allow.

    Raises:
        GpuError: there is none, and it was required.
    """
    from lokal.engine import build

    found: tuple[Device, ...] = ()
    if options.wishes().layers != 0 and build.supports_gpu():
        from lokal.hardware.devices import devices, gpus

        found = gpus(devices(build.ggml()))[:MAX_DEVICES]
    if options.require_gpu and not found:
        raise GpuError(
            unused_gpus() or "there is no GPU in this machine", hint="llm doctor says what it has"
        )
    return Machine(available_bytes(), found)


def plan(weights: Weights, options: LoadOptions, here: Machine) -> LoadPlan:
    """How these weights are opened on this machine.

    Raises:
        SpaceError: they do not fit, or not with what was asked for; says what fits.
        UsageError: an option that this model or this machine cannot take.
        GpuError: a GPU was required, and nothing fits there.
    """
    header = weights.header
    check_kv_types(header, *options.kv_types(), flash=options.flash != "off")
    budget = budget_of(options, here)
    gpu = bool(here.gpus)
    shape_of = partial(_shape, options, shares=not keeps_state(header), gpu=gpu)

    @cache  # the same sizes are looked at from several sides
    def takes(n_ctx: int, n_cells: int) -> Needs:
        return needs(header, _room(shape_of(n_ctx, n_cells)))

    limit = weights.context_limit
    context = sizing.settle(limit, options.ctx, budget, lambda n_ctx: takes(n_ctx, n_ctx)).context
    n_ctx = context.n_ctx
    wanted = _wanted_cells(options.n_parallel(gpu=gpu), n_ctx)
    n_cells = sizing.most_cells(n_ctx, wanted, budget, partial(takes, n_ctx))
    shape, needed = shape_of(n_ctx, n_cells), takes(n_ctx, n_cells)
    placement = budget.arrange(needed)
    if gpu and not placement.n_gpu_layers:
        if options.require_gpu:
            raise GpuError(too_small(here), hint="free some of it, or choose a smaller model")
        return plan(weights, options, here._replace(gpus=()))  # as many sequences as suit a CPU
    # Repacked weights are copies, which cannot come and go as a mapped file does.
    repack = shape.n_parallel < REPACK_BELOW and not options.mapped
    load_mode = options.load_mode
    if repack and load_mode == "auto" and not _holds_twice(here, placement, needed):
        load_mode = "none"
    return LoadPlan(context, shape, placement, needed, repack, load_mode)


def _holds_twice(here: Machine, placement: Placement, needed: Needs) -> bool:
    """Whether the memory holds repacked weights, and the mapped file that they are copied from.

    Where it does not, the kernel takes back the pages of either while they are copied, over and
    over, and an address space that `ulimit -v` limits ends.
    """
    both = placement.in_memory(needed) + placement.weights_in_memory(needed)
    return here.available is None or both <= here.available


def budget_of(options: LoadOptions, here: Machine) -> Budget:
    """What a model may take of this machine."""
    return Budget(here, options.wishes(), mapped=options.mapped)


def with_smaller_caches(
    weights: Weights, options: LoadOptions, planned: LoadPlan, *, shares: bool
) -> Iterator[LoadPlan]:
    """The plan, and then the same with less of a KV cache, down to what was asked for.

    `shares` is what the loaded model says of sharing prefixes. Where its header did not tell, only
    the cache is planned anew: the weights are where they are, and it gets smaller without.
    """
    shares = shares and not keeps_state(weights.header)
    shape = planned.shape
    least = options.ctx or min(sizing.LEAST, shape.n_ctx)
    if shape.share and not shares:
        planned = _resized(weights, options, planned, shape.n_ctx, shape.n_cells, shares=False)
    yield planned
    for part in (2, 4, shape.n_cells):
        n_ctx = options.ctx or max(least, shape.n_ctx // part // STEP * STEP)
        smaller = _resized(weights, options, planned, n_ctx, shape.n_cells // part, shares=shares)
        if smaller.shape.n_cells < planned.shape.n_cells:
            planned = smaller
            yield planned


def _resized(
    weights: Weights,
    options: LoadOptions,
    planned: LoadPlan,
    n_ctx: int,
    n_cells: int,
    *,
    shares: bool,
) -> LoadPlan:
    """The same with another KV cache."""
    gpu = bool(planned.placement.gpus)
    shape = _shape(options, n_ctx, max(n_ctx, n_cells), shares=shares, gpu=gpu)
    return planned._replace(
        context=planned.context._replace(n_ctx=n_ctx),
        shape=shape,
        needs=needs(weights.header, _room(shape)),
    )


def _wanted_cells(n_parallel: int, n_ctx: int) -> int:
    """A context for each sequence if it is small, else what they use of it as a rule."""
    if n_ctx <= SMALL_CONTEXT:
        return n_parallel * padded(n_ctx, STEP)
    return max(n_ctx, n_parallel * min(n_ctx, TYPICAL))


def _shape(options: LoadOptions, n_ctx: int, n_cells: int, *, shares: bool, gpu: bool) -> Shape:
    """How many sequences of `n_ctx` tokens run side by side in a KV cache of `n_cells`.

    Each in a cache of its own where contexts are small and there is room. Else all in one, with
    room for at most `TYPICAL` tokens each, as sequences seldom fill their context; for one whole
    context at least, so that each would fit alone. `shares` says whether this kind of model can
    share prefixes.

    A single sequence is computed as if it were the only one ever, unless the options say to `keep`
    what the one before it left.
    """
    n_slots = n_parallel = options.n_parallel(gpu=gpu)
    keys, values = options.kv_types()
    flash, n_batch, streams = options.flash, BATCH_TOKENS, True
    if n_parallel == 1:
        n_cells, n_batch, shares = n_ctx, SINGLE_BATCH, shares and options.keep
        # A CPU computes a turn of some tokens faster without flash attention, which takes them one
        # by one; but then the scores of all pairs of tokens need room.
        slow = options.keep and n_ctx <= SMALL_CONTEXT and not gpu
        if flash == "auto" and slow and values in PLAIN:
            flash = "off"
    elif n_ctx > SMALL_CONTEXT or n_cells < n_parallel * padded(n_ctx, STEP):
        streams = False
        n_slots += SPARE_SLOTS if shares else 0
        # llama.cpp aborts where a cache has fewer cells than sequences.
        n_cells = max(n_ctx, min(n_cells, n_parallel * min(n_ctx, TYPICAL)), n_slots)
    return Shape(n_parallel, n_slots, n_ctx, n_cells, n_batch, shares, streams, flash, keys, values)


def _room(shape: Shape) -> Room:
    return Room(
        shape.n_cells,
        shape.n_slots if shape.streams else 1,
        shape.n_slots,
        shape.n_batch,
        shape.key_type,
        shape.value_type,
        shape.flash != "off",
        shape.share,
    )


def too_small(here: Machine) -> str:
    """That the GPUs have no room."""
    told = (
        "it does not say its memory" if gpu.silent else f"{spelled(gpu.free)} free"
        for gpu in here.gpus
    )
    named = ", ".join(f"{gpu.name} ({free})" for gpu, free in zip(here.gpus, told, strict=True))
    return f"no layer fits on {named}"


def unused_gpus() -> str | None:
    """That there is a GPU which this build cannot use; None if there is none."""
    from lokal.hardware.gpus import present

    names = [gpu.name for gpu in present()]
    if not names:
        return None
    return f"the installed llama-cpp-python cannot use {', '.join(names)}; llm doctor says what can"
