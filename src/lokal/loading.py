"""How the user wants a model loaded."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from lokal.engine.backend import FLASH
from lokal.engine.llama import MAX_THREADS, check_threads
from lokal.engine.offload import LOADS, SPLITS
from lokal.errors import UsageError
from lokal.hardware import context as sizing
from lokal.hardware.cpu import usable_cores
from lokal.hardware.kv_types import check_kv_type
from lokal.hardware.wishes import ALL, AUTO, Wishes
from lokal.settings import Settings
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.lora import Lora

# From 64 tokens on, attention on a CPU looks at cells of other sequences as well.
AUTO_ON_CPU, AUTO_ON_GPU = 48, 64  # sequences
REPACK_BELOW = 16  # sequences; repacked weights decode one token faster, and many slower
MAX_PARALLEL = 224  # with the spare ones of `opening` 256, LLAMA_MAX_SEQ


class LoadOptions(NamedTuple):
    """What the user asked of a load; None and "auto" leave the choice to lokal.

    `ctx` is in tokens, for each sequence; `gpu_layers` is "auto", "all" or a number; `parallel` is
    how many sequences run side by side, "auto" or a number. `keep` is for a conversation: what is
    in the KV cache stays for the next request. `lora` are the adapters that change the model.
    `kv_type` is ggml's name for the numbers of the KV cache, or two of them, for keys and values,
    with a comma; `flash` is flash attention. `split` says how several GPUs are used: none (only
    `main_gpu`, or the first), layer, row, or the share of each, such as "3,1". `load_mode` is
    llama.cpp's name for how the file is read. Under `require_gpu` it is an error to use none.
    """

    ctx: int | None = None
    threads: int | None = None
    gpu_layers: str | int = "auto"
    parallel: str | int = 1
    keep: bool = False
    lora: tuple[Lora, ...] = ()
    kv_type: str = "f16"
    flash: str = "auto"
    split: str = "layer"
    main_gpu: int | None = None
    load_mode: str = "auto"
    require_gpu: bool = False

    def check(self) -> None:
        """Raises: UsageError: what no file and no machine could make right."""
        wishes = self.wishes()
        self.native_threads()
        self.n_parallel(gpu=False)
        if self.ctx is not None:
            sizing.check_context(self.ctx)
        for kind in self.kv_types():
            check_kv_type(kind)
        _check_word("--flash-attn", self.flash, FLASH)
        _check_word("--load-mode", self.load_mode, LOADS)
        if self.require_gpu and wishes.layers == 0:
            raise UsageError("--require-gpu, and no layer on a GPU", hint="leave out one of them")
        if self.lora:  # as in few runs
            from lokal.engine.lora import check_loras

            check_loras(self.lora)

    def wishes(self) -> Wishes:
        """What was said of GPUs.

        Raises:
            UsageError: not in one of the forms.
        """
        shares = () if self.split in SPLITS else _shares(self.split)
        main = self.main_gpu or 0
        if main < 0:
            raise UsageError(f"--main-gpu {main}", hint="the first GPU is number 0")
        if self.main_gpu is not None and self.split != "none":
            raise UsageError(f"--main-gpu {main} without --split none", hint="add --split none")
        return Wishes(self._layers(), "layer" if shares else self.split, shares, main)

    def _layers(self) -> int | None:
        text = str(self.gpu_layers)
        if text == "auto":
            return AUTO
        if text == "all":
            return ALL
        return _number("--gpu-layers", text, range(2**31), "auto, all, or a number from 0 on")

    def n_parallel(self, *, gpu: bool) -> int:
        """How many sequences run side by side; `gpu` is whether a GPU computes them.

        Raises:
            UsageError: neither of the two forms.
        """
        text = str(self.parallel)
        if text == "auto":
            return AUTO_ON_GPU if gpu else AUTO_ON_CPU
        forms = f"auto, or a number from 1 to {MAX_PARALLEL}"
        return _number("--parallel", text, range(1, MAX_PARALLEL + 1), forms)

    def native_threads(self) -> int:
        """The number for llama.cpp.

        Raises:
            UsageError: out of range.
        """
        if self.threads is None:
            return min(usable_cores(), MAX_THREADS)
        check_threads(self.threads)
        return self.threads

    @property
    def mapped(self) -> bool:
        """Whether weights may come and go with the pages of the file: who wants that, says so."""
        return self.load_mode == "mmap"

    def kv_types(self) -> tuple[str, str]:
        """The types of keys and values."""
        keys, comma, values = str(self.kv_type).lower().partition(",")
        return keys, values if comma else keys


def _number(flag: str, text: str, allowed: range, forms: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) not in allowed:
        raise UsageError(f"{flag} {text}", hint=f"give {forms}")
    return int(text)


def _check_word(flag: str, word: str, words: Collection[str]) -> None:
    if word not in words:
        raise UsageError(f"{flag}: there is no {word!r}", hint=f"give one of {', '.join(words)}")


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(map(float, text.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 <= share < math.inf for share in shares) or not sum(shares):
        raise UsageError(
            f"--split {text}", hint="give none, layer, row, or the share of each GPU, as in 3,1"
        )
    return shares


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
