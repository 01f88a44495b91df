"""A model is put into memory as it was planned, or with less where memory falls short."""

from __future__ import annotations

from typing import NamedTuple

from lokal.engine.accounting import taken
from lokal.engine.backend import LlamaContext
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import AllocationError, LlamaModel
from lokal.engine.offload import Offload
from lokal.errors import GpuError, SpaceError
from lokal.hardware.budget import Machine
from lokal.hardware.memory import spelled
from lokal.hardware.placement import Placement
from lokal.hardware.wishes import AUTO, Wishes
from lokal.loading import LoadOptions, check_adapters
from lokal.planning import (
    LoadPlan,
    budget_of,
    machine,
    plan,
    too_small,
    unused_gpus,
    with_smaller_caches,
)
from lokal.weights import Weights

MOST_LOADS = 4  # times that weights are read, the last time for the CPU alone


class Memory(NamedTuple):
    """Bytes that a loaded model was to take, and that llama.cpp says it took."""

    predicted: int
    taken: int

    def __str__(self) -> str:
        return f"{spelled(self.taken)} of memory, predicted {spelled(self.predicted)}"


class Opened(NamedTuple):
    """A model in memory with a context, as it was planned or with less.

    `notes` are what the user should know of it.
    """

    native: LlamaModel
    context: LlamaContext
    plan: LoadPlan
    notes: tuple[str, ...]

    @property
    def memory(self) -> Memory:
        return Memory(self.plan.memory, taken(self.native.buffers + self.context.buffers))


def open_model(weights: Weights, options: LoadOptions, interrupt: Interrupt) -> Opened:
    """Load weights and make a context; where memory falls short all the same, with less of it.

    What the user asked for is never made less.

    Raises:
        LoadError: llama.cpp refuses the file, or an adapter is none for it.
        SpaceError, UsageError, GpuError: as from `plan`.
        KeyboardInterrupt: Ctrl-C came while it loaded.
    """
    here = machine(options)
    first = planned = plan(weights, options, here)
    check_adapters(weights, options.lora)
    failures: list[AllocationError] = []
    n_loads = 0
    while True:
        try:
            native, context, planned = _open(weights, options, planned, interrupt, failures)
            break
        except AllocationError as error:
            failures.append(error)
        n_loads += 1
        here = machine(options)  # somebody else may have taken what was free
        planned = _less(weights, options, here, planned, failures[0], n_loads)
    told = _stepped_down(weights, options, first, planned, failures[0]) if failures else None
    notes = [told]
    if not told or options.ctx is not None:
        notes.append(planned.context.note)
    if planned.placement == first.placement:
        notes.append(_gpu_note(options, here, planned.placement))
    notes += [_disk_note(here, planned), native.unlocked]
    return Opened(native, context, planned, tuple(note for note in notes if note))


def _open(
    weights: Weights,
    options: LoadOptions,
    planned: LoadPlan,
    interrupt: Interrupt,
    failures: list[AllocationError],
) -> tuple[LlamaModel, LlamaContext, LoadPlan]:
    """With a smaller context where that is all that failed: the weights stay where they are."""
    native = LlamaModel(
        weights.path,
        interrupt,
        offload=_offload(planned.placement, planned.load_mode),
        repack=planned.repack,
        lora=options.lora,
    )
    threads = options.native_threads()
    shares = native.shares_prefixes
    try:
        for smaller in with_smaller_caches(weights, options, planned, shares=shares):
            try:
                context = LlamaContext(native, interrupt, smaller.shape, n_threads=threads)
                return native, context, smaller
            except AllocationError as error:
                failures.append(error)
        raise failures[-1]
    except BaseException:
        native.close()
        raise


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
    weights: Weights,
    options: LoadOptions,
    here: Machine,
    planned: LoadPlan,
    failure: AllocationError,
    n_loads: int,
) -> LoadPlan:
    """The next plan with less on GPUs, if the user left that open; else raises the failure.

    What is free now decides if that is less, else it is a step below what failed, at last the CPU.
    """
    now = plan(weights, options, here)  # its own error says what fits now
    if options.wishes().layers is not AUTO or not planned.placement.n_gpu_layers:
        raise failure
    try:
        if n_loads + 1 < MOST_LOADS:
            if now.placement.reach < planned.placement.reach:
                return now
            if less := planned.placement.smaller():
                budget_of(options, here).check(less, planned.needs)
                return planned._replace(placement=less)
        if options.require_gpu:
            raise GpuError(failure.message, hint=failure.hint)
        return plan(weights, options, here._replace(gpus=()))
    except SpaceError:
        raise failure from None


def _stepped_down(
    weights: Weights,
    options: LoadOptions,
    first: LoadPlan,
    planned: LoadPlan,
    failure: AllocationError,
) -> str:
    """What failed, and what was loaded instead."""
    loaded = []
    if planned.placement != first.placement:
        where = planned.placement
        loaded.append(where.description if where.n_gpu_layers else "all of it on the CPU")
    if options.ctx is None and planned.context.n_ctx < weights.context_limit:
        loaded.append(f"a context of {planned.context.n_ctx} tokens of {weights.context_limit}")
    elif planned.shape.n_cells < first.shape.n_cells:
        loaded.append(f"a KV cache of {planned.shape.n_cells} tokens")
    return f"{failure.message}; loaded instead: {', '.join(loaded)}"


def _gpu_note(options: LoadOptions, here: Machine, placement: Placement) -> str | None:
    """What should be known of GPUs: that they do not hold everything, or are not used at all."""
    wishes = options.wishes()
    if wishes.layers == 0:
        return None
    if not here.gpus:
        nothing = "there is no GPU; the CPU computes everything"
        return unused_gpus() or (nothing if wishes != Wishes() else None)
    if not placement.n_gpu_layers:
        return f"{too_small(here)}; the CPU computes everything"
    if wishes.layers is not AUTO:
        return None
    notes = []
    if not placement.whole:
        notes.append(f"{placement.description}, as memory allows; the rest is computed by the CPU")
    silent = [gpu.name for gpu in wishes.usable(here.gpus) if gpu.silent]
    notes += [f"{name} is not used, as it does not say its memory" for name in silent]
    return "; ".join(notes) or None


def _disk_note(here: Machine, planned: LoadPlan) -> str | None:
    """That the weights come and go; only who demanded a mapped file has come so far then."""
    needed = planned.placement.in_memory(planned.needs)
    if here.available is None or needed <= here.available:
        return None
    return "the weights are larger than the memory: they are read from the disk again and again"
