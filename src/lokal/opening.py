"""A model is put into memory as it was planned, or with less where memory falls short."""

from __future__ import annotations

from typing import NamedTuple

from lokal.engine.accounting import taken
from lokal.engine.backend import LlamaContext
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import AllocationError, LlamaModel
from lokal.engine.offload import Offload
from lokal.errors import GpuError
from lokal.hardware import context as sizing
from lokal.hardware.budget import Machine
from lokal.hardware.placement import AUTO, Placement
from lokal.loading import LoadOptions, check_adapters
from lokal.planning import Plan, machine, plan, too_small, unused_gpus
from lokal.weights import Weights


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
        repack=planned.repack,
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
        return unused_gpus() or (
            "there is no GPU; the CPU computes everything" if demanded else None
        )
    if not placement.n_gpu_layers:
        return f"{too_small(here)}; the CPU computes everything"
    if options.wishes().layers is AUTO and not placement.whole:
        return f"{placement.description}, as memory allows; the rest is computed by the CPU"
    return None


def _disk_note(here: Machine, planned: Plan) -> str | None:
    """That the weights come and go; only who demanded a mapped file has come so far then."""
    needed = planned.placement.in_memory(planned.needs)
    if here.available is None or needed <= here.available:
        return None
    return "the weights are larger than the memory: they are read from the disk again and again"
