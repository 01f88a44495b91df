"""A model is put into memory: what fits, what goes where, and one step less where it does not."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from lokal.engine.backend import LlamaContext
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import AllocationError, LlamaModel
from lokal.engine.offload import Offload
from lokal.engine.plan import Shape
from lokal.errors import GpuError
from lokal.hardware import context as sizing
from lokal.hardware.budget import Budget, Machine
from lokal.hardware.devices import Device, devices, gpus
from lokal.hardware.fit import Needs, Room, needs
from lokal.hardware.kv_types import PLAIN, check_kv_types
from lokal.hardware.memory import available_bytes
from lokal.hardware.placement import AUTO, Placement
from lokal.loading import REPACK_BELOW, LoadOptions, check_adapters
from lokal.weights import Weights

SINGLE_BATCH = 2048  # tokens of a batch of one sequence; llama.cpp's own default
BATCH_TOKENS = 512  # tokens of a batch of many sequences; as many as llama.cpp computes at once
SMALL_CONTEXT = 2048  # tokens; of which each sequence gets a whole one
TYPICAL = 1024  # tokens; what a row of a batch is given room for, prompt and answer
SPARE_SLOTS = 32  # sequence ids that keep prefixes while all others are under way


class Plan(NamedTuple):
    """How a model is to be opened; `needs` are what it will take."""

    context: sizing.Context
    shape: Shape
    placement: Placement
    needs: Needs

    @property
    def memory(self) -> int:
        """Bytes of all memory that it will take."""
        return self.placement.in_memory(self.needs) + sum(self.placement.load(self.needs))


class Memory(NamedTuple):
    """Bytes that a loaded model was to take, and that llama.cpp says it took."""

    predicted: int
    taken: int

    def __str__(self) -> str:
        return f"{self.taken / 1e9:.2f} GB of memory, predicted {self.predicted / 1e9:.2f}"


class Opened(NamedTuple):
    """A model in memory with a context, as it was planned or with less.

    `notes` are what the user should know of it.
    """

    native: LlamaModel
    context: LlamaContext
    plan: Plan
    notes: tuple[str, ...]

    @property
    def memory(self) -> Memory:
        buffers = self.native.buffers + self.context.buffers
        return Memory(self.plan.memory, sum(buffer.size for buffer in buffers))


def machine(options: LoadOptions) -> Machine:
    """What this machine has left now, with the GPUs that the options allow.

    Raises:
        GpuError: there is none, and it was required.
    """
    from lokal.engine import build

    found: tuple[Device, ...] = ()
    if options.wishes().layers != 0 and build.supports_gpu():
        found = gpus(devices(build.ggml()))
    if options.require_gpu and not found:
        raise GpuError(
            _unused() or "there is no GPU in this machine", hint="llm doctor says what it has"
        )
    return Machine(available_bytes(), found)


def plan(
    weights: Weights,
    options: LoadOptions,
    here: Machine,
    *,
    limit: int | None = None,
    shares: bool = True,
) -> Plan:
    """How these weights are opened on this machine.

    `limit` is the largest context in tokens that is chosen, if not the model's own. `shares` says
    whether this kind of model can share prefixes.

    Raises:
        SpaceError: they do not fit, or not with what was asked for; says what fits.
        UsageError: an option that this model or this machine cannot take.
        GpuError: a GPU was required, and nothing fits there.
    """
    header = weights.header
    check_kv_types(header, *options.kv_types(), flash=options.flash != "off")
    budget = Budget(here, options.wishes(), mapped=options.load_mode == "mmap")
    shape_of = partial(_shape, options, shares=shares, gpu=bool(here.gpus))

    def takes(n_ctx: int, n_cells: int) -> Needs:
        return needs(header, _room(shape_of(n_ctx, n_cells)))

    most = min(limit or weights.context_limit, weights.context_limit)
    context = sizing.settle(most, options.ctx, budget, lambda n_ctx: takes(n_ctx, n_ctx)).context
    n_ctx = context.n_ctx
    wanted = _wanted_cells(options.n_parallel(gpu=bool(here.gpus)), n_ctx)
    n_cells = sizing.most_cells(n_ctx, wanted, budget, partial(takes, n_ctx))
    shape = shape_of(n_ctx, n_cells)
    needed = needs(header, _room(shape))
    placement = budget.arrange(needed)
    if options.require_gpu and not placement.n_gpu_layers:
        raise GpuError(_too_small(here), hint="free some of it, or choose a smaller model")
    return Plan(context, shape, placement, needed)


def _wanted_cells(n_parallel: int, n_ctx: int) -> int:
    """A context for each sequence if it is small, else what they use of it as a rule."""
    if n_ctx <= SMALL_CONTEXT:
        return n_parallel * sizing.padded(n_ctx)
    return max(n_ctx, n_parallel * min(n_ctx, TYPICAL))


def _shape(options: LoadOptions, n_ctx: int, n_cells: int, *, shares: bool, gpu: bool) -> Shape:
    """How many sequences of `n_ctx` tokens run side by side in a KV cache of `n_cells`.

    Each in a cache of its own where contexts are small and there is room. Else all in one, with
    room for `TYPICAL` tokens each, as sequences seldom fill their context; for one whole context
    at least, so that each would fit alone. `shares` says whether this kind of model can share
    prefixes.

    A single sequence is computed as if it were the only one ever, unless the options say to `keep`
    what the one before it left.
    """
    n_parallel = options.n_parallel(gpu=gpu)
    keys, values = options.kv_types()
    flash = options.flash
    if n_parallel == 1:
        # A CPU computes a turn of some tokens faster without flash attention, which takes them one
        # by one; but then the scores of all pairs of tokens need room.
        if options.keep and n_ctx <= SMALL_CONTEXT and not gpu and values in PLAIN:
            flash = "off" if flash == "auto" else flash
        share = shares and options.keep
        return Shape(1, 1, n_ctx, n_ctx, SINGLE_BATCH, share, True, flash, keys, values)
    if n_ctx <= SMALL_CONTEXT and n_cells >= n_parallel * sizing.padded(n_ctx):
        return Shape(
            n_parallel, n_parallel, n_ctx, n_cells, BATCH_TOKENS, shares, True, flash, keys, values
        )
    n_slots = n_parallel + SPARE_SLOTS if shares else n_parallel
    # llama.cpp aborts where a cache has fewer cells than sequences.
    n_cells = max(n_ctx, n_cells, n_slots)
    return Shape(
        n_parallel, n_slots, n_ctx, n_cells, BATCH_TOKENS, shares, False, flash, keys, values
    )


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


def open_model(weights: Weights, options: LoadOptions, interrupt: Interrupt) -> Opened:
    """Load weights and make a context; where memory falls short all the same, with less of it.

    What the user asked for is never made less.

    Raises:
        LoadError: llama.cpp refuses the file, or an adapter is none for it.
        SpaceError, UsageError, GpuError: as from `plan`.
        KeyboardInterrupt: Ctrl-C came while it loaded.
    """
    here = machine(options)
    planned = plan(weights, options, here)
    check_adapters(weights, options.lora)
    notes: list[str] = []
    first: AllocationError | None = None
    while True:
        try:
            return _open(weights, options, here, planned, interrupt, notes)
        except AllocationError as error:
            first = first or error
            here = machine(options)  # somebody else may have taken what was free
            planned = _less(weights, options, here, planned, error)
            where, n_ctx = planned.placement.description, planned.context.n_ctx
            notes = [f"{first.message}; loaded instead: {where}, with a context of {n_ctx}"]


def _open(
    weights: Weights,
    options: LoadOptions,
    here: Machine,
    planned: Plan,
    interrupt: Interrupt,
    notes: list[str],
) -> Opened:
    native = LlamaModel(
        weights.path,
        interrupt,
        offload=_offload(planned.placement, options.load_mode),
        # Repacked weights are copies, and no longer come and go with the file.
        repack=planned.shape.n_parallel < REPACK_BELOW and options.load_mode != "mmap",
        lora=options.lora,
    )
    try:
        if planned.shape.share and not native.shares_prefixes:
            alone = plan(weights, options, here, limit=planned.context.n_ctx, shares=False)
            planned = planned._replace(shape=alone.shape, needs=alone.needs)
        threads = options.native_threads()
        context = LlamaContext(native, interrupt, planned.shape, n_threads=threads)
    except BaseException:
        native.close()
        raise
    said = [*notes, planned.context.note, _gpu_note(options, here, planned.placement)]
    said += [_disk_note(here, planned), native.unlocked]
    return Opened(native, context, planned, tuple(note for note in said if note))


def _offload(placement: Placement, load_mode: str) -> Offload:
    memory = 0
    if placement.experts_in_memory:
        from lokal.engine import build

        memory = build.cpu_buffer_type()
    return Offload(
        tuple(gpu.native for gpu in placement.gpus),
        placement.layers,
        placement.n_layers,
        placement.split,
        placement.experts_in_memory,
        memory,
        load_mode,
    )


def _less(
    weights: Weights, options: LoadOptions, here: Machine, planned: Plan, error: AllocationError
) -> Plan:
    """The next plan, of what the user left open; else raises the error.

    It goes by what is free now; where that should have sufficed, it is a step below what failed.
    """
    n_ctx = planned.context.n_ctx
    now = _up_to(n_ctx, weights, options, here)
    if now.context.n_ctx < n_ctx or now.placement.reach < planned.placement.reach:
        return now
    if options.wishes().layers is AUTO and (less := planned.placement.smaller()):
        needed = less.in_memory(planned.needs)
        if options.require_gpu and not less.n_gpu_layers:
            raise GpuError(error.message, hint=error.hint)
        if here.available is None or needed <= here.available:
            return planned._replace(placement=less)
    if options.ctx is None and n_ctx > sizing.LEAST:
        return _up_to(max(n_ctx // 2, sizing.LEAST), weights, options, here)
    raise error


def _up_to(limit: int, weights: Weights, options: LoadOptions, here: Machine) -> Plan:
    """A plan with a context of at most `limit` tokens, unless the user asked for another."""
    if options.ctx is not None:
        return plan(weights, options, here)
    found = plan(weights, options, here, limit=limit)
    n_ctx, most = found.context.n_ctx, weights.context_limit
    note = f"the context is {n_ctx} tokens of {most}, as memory allows" if n_ctx < most else None
    return found._replace(context=sizing.Context(n_ctx, note))


def _gpu_note(options: LoadOptions, here: Machine, placement: Placement) -> str | None:
    """What should be known of GPUs: that they do not hold everything, or are not used at all."""
    if options.wishes().layers == 0:
        return None
    if not here.gpus:
        demanded = options.wishes().layers is not AUTO
        return _unused() or ("there is no GPU; the CPU computes everything" if demanded else None)
    if not placement.n_gpu_layers:
        return f"{_too_small(here)}; the CPU computes everything"
    if options.wishes().layers is AUTO and not placement.whole:
        return f"{placement.description}, as memory allows; the rest is computed by the CPU"
    return None


def _disk_note(here: Machine, planned: Plan) -> str | None:
    """That the weights come and go; only who demanded a mapped file has come so far then."""
    needed = planned.placement.in_memory(planned.needs)
    if here.available is None or needed <= here.available:
        return None
    return "the weights are larger than the memory: they are read from the disk again and again"


def _too_small(here: Machine) -> str:
    free = ", ".join(f"{gpu.name} ({gpu.free / 1e9:.1f} GB free)" for gpu in here.gpus)
    return f"no layer fits on {free}"


def _unused() -> str | None:
    """That there is a GPU which this build cannot use; None if there is none."""
    from lokal.hardware.gpus import present

    names = [gpu.name for gpu in present()]
    if not names:
        return None
    return f"the installed llama-cpp-python cannot use {', '.join(names)}; llm doctor says what can"
