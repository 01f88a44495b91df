"""How a model is loaded: what the user asked for, and what the machine gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lokal.engine.llama import MAX_THREADS, check_threads
from lokal.engine.plan import Shape
from lokal.errors import UsageError
from lokal.hardware import context as sizing
from lokal.hardware.cpu import usable_cores
from lokal.hardware.memory import available_bytes
from lokal.settings import Settings
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.lora import Lora

SINGLE_BATCH = 2048  # tokens of a batch of one sequence; llama.cpp's own default
BATCH_TOKENS = 512  # tokens of a batch of many sequences; as many as llama.cpp computes at once
# From 64 tokens on, attention on a CPU looks at cells of other sequences as well.
AUTO_ON_CPU, AUTO_ON_GPU = 48, 64  # sequences
REPACK_BELOW = 16  # sequences; repacked weights decode one token faster, and many slower
SMALL_CONTEXT = 2048  # tokens; of which each sequence gets a whole one
TYPICAL = 1024  # tokens; what a row of a batch is given room for, prompt and answer
SPARE_SLOTS = 32  # sequence ids that keep prefixes while all others are under way
MAX_PARALLEL = 224  # with the spare ones 256, LLAMA_MAX_SEQ


class LoadOptions(NamedTuple):
    """What the user asked of a load; None and "auto" leave the choice to lokal.

    `ctx` is in tokens, for each sequence; `gpu_layers` is "auto", "all" or a number; `parallel` is
    how many sequences run side by side, "auto" or a number. `keep` is for a conversation: what is
    in the KV cache stays for the next request. `lora` are the adapters that change the model.
    """

    ctx: int | None = None
    threads: int | None = None
    gpu_layers: str | int = "auto"
    parallel: str | int = 1
    keep: bool = False
    lora: tuple[Lora, ...] = ()

    def check(self) -> None:
        """Raises: UsageError: what no file and no machine could make right."""
        self.native_gpu_layers()
        self.native_threads()
        self.n_parallel()
        if self.ctx is not None:
            sizing.check_context(self.ctx)
        if self.lora:  # as in few runs
            from lokal.engine.lora import check_loras

            check_loras(self.lora)

    def native_gpu_layers(self) -> int | None:
        """The number for llama.cpp: -1 offloads every layer, None is its own choice.

        Raises:
            UsageError: not one of the three forms.
        """
        text = str(self.gpu_layers)
        if text == "auto":
            return None
        if text == "all":
            return -1
        if not (text.isascii() and text.isdigit()) or int(text) > 2**31 - 1:
            raise UsageError(f"--gpu-layers {text}", hint="give auto, all, or a number from 0 on")
        return int(text)

    @property
    def on_gpu(self) -> bool:
        """Whether layers go to a GPU, if there is one that this build can use."""
        from lokal.engine import build  # nothing that a single answer needs
        from lokal.hardware.devices import devices, gpus

        wanted = str(self.gpu_layers) != "0" and build.supports_gpu()
        return wanted and bool(gpus(devices(build.ggml())))

    def n_parallel(self) -> int:
        """How many sequences run side by side.

        Raises:
            UsageError: neither of the two forms.
        """
        text = str(self.parallel)
        if text == "auto":
            return AUTO_ON_GPU if self.on_gpu else AUTO_ON_CPU
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_PARALLEL:
            raise UsageError(
                f"--parallel {text}", hint=f"give auto, or a number from 1 to {MAX_PARALLEL}"
            )
        return int(text)

    def native_threads(self) -> int:
        """The number for llama.cpp.

        Raises:
            UsageError: out of range.
        """
        if self.threads is None:
            return min(usable_cores(), MAX_THREADS)
        check_threads(self.threads)
        return self.threads


def choose_shape(weights: Weights, options: LoadOptions, n_ctx: int, *, shares: bool) -> Shape:
    """How many sequences of `n_ctx` tokens run side by side, and in what room.

    Each in a cache of its own where contexts are small. Else all in one, with room for `TYPICAL`
    tokens each, as sequences seldom fill their context; for one whole context at least, so that
    each would fit alone. `shares` says whether this kind of model can share prefixes.

    A single sequence is computed as if it were the only one ever, unless the options say to `keep`
    what the one before it left.
    """
    n_parallel = options.n_parallel()
    if n_parallel == 1:
        # A CPU computes a turn of some tokens faster without flash attention, which takes them one
        # by one; but then the scores of all pairs of tokens need room.
        keep = options.keep
        flash = not keep or n_ctx > SMALL_CONTEXT or options.on_gpu
        return Shape(1, 1, n_ctx, n_ctx, SINGLE_BATCH, shares and keep, streams=True, flash=flash)
    most = sizing.most_cells(weights.header, n_parallel, available_bytes())
    n_cells = n_parallel * sizing.padded(n_ctx)
    if n_ctx <= SMALL_CONTEXT and n_cells <= most:
        return Shape(n_parallel, n_parallel, n_ctx, n_cells, BATCH_TOKENS, shares, streams=True)
    n_slots = n_parallel + SPARE_SLOTS if shares else n_parallel
    n_cells = min(n_parallel * min(n_ctx, TYPICAL), most)
    # llama.cpp aborts where a cache has fewer cells than sequences.
    return Shape(n_parallel, n_slots, n_ctx, max(n_ctx, n_cells, n_slots), BATCH_TOKENS, shares)


def choose_context(weights: Weights, options: LoadOptions) -> sizing.Context:
    """The context these weights would get on this machine now."""
    return sizing.choose(weights.header, weights.context_limit, options.ctx, available_bytes())


def check_adapters(weights: Weights, adapters: tuple[Lora, ...]) -> None:
    """Look into adapter files before llama.cpp does; `LoadOptions.check` has seen their names.

    Raises:
        ModelNameError: a file that is not there.
        LoadError: one that is no adapter, or belongs to another model.
    """
    if not adapters:
        return
    from lokal.gguf.adapter import check_adapter

    for lora in adapters:
        check_adapter(lora.file, weights.header)


def lora_settings(adapters: tuple[Lora, ...], settings: Settings) -> list[tuple[str, float]]:
    """The hex sha256 and the scale of each adapter: what tells answers made with them apart."""
    if not adapters:
        return []
    from lokal.checksum import sha256

    return [(sha256(lora.file, settings.state_dir), lora.scale) for lora in adapters]
