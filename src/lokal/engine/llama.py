"""llama.cpp, through llama-cpp-python's low-level API; the only importer of llama_cpp.

A broken precondition in native code aborts the process, so every one that input can reach is
checked here, or in `lokal.gguf` before the file gets here.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lokal.engine.interrupt import Interrupt
from lokal.engine.native_log import NativeLog
from lokal.engine.plan import Chunk, NoSlotError, Plan, Shape
from lokal.engine.prefix import Copy, Remove
from lokal.engine.samplers import Samplers
from lokal.engine.vocabulary import Vocabulary
from lokal.errors import ArchitectureError, LoadError, SpaceError, UsageError

if TYPE_CHECKING:
    from lokal.engine.lora import Lora

MAX_THREADS = 512  # GGML_MAX_N_THREADS; more are a broken precondition
NO_SLOT, INVALID = 1, -1  # what llama_decode returns
NO_FLASH = 0  # enum llama_flash_attn_type
SLOW_STEP = 0.25  # seconds; a decode of one token this slow listens for Ctrl-C too


@functools.cache
def _native() -> tuple[Any, NativeLog]:
    """The ctypes module of llama.cpp and its log, set up once per process.

    The package's own `__init__` pulls in numpy and a high-level API, which costs more time than
    everything else in a short run; a bare module in its place skips it. The bare module is
    removed at once, so that a later `import llama_cpp` by somebody else gets the real one.
    """
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an abort would start a debugger
    name = "llama_cpp"
    if name in sys.modules:
        lib = importlib.import_module(f"{name}.llama_cpp")
    else:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("llama-cpp-python is not installed", name=name)
        package = types.ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = package
        try:
            lib = importlib.import_module(f"{name}.llama_cpp")
        finally:
            del sys.modules[name]
    log = NativeLog()
    callback = lib.llama_log_callback(log)
    lib.llama_log_set(callback, None)
    lib.llama_backend_init()
    log.callback = callback
    return lib, log


def native_library() -> tuple[Any, Path]:
    """The ctypes module of llama.cpp, and the library file that it loaded."""
    lib, _ = _native()
    return lib, Path(lib._lib._name)


def check_threads(count: int) -> None:
    """Raises: UsageError: llama.cpp cannot take so many threads, or so few."""
    if not 1 <= count <= MAX_THREADS:
        raise UsageError(f"{count} threads", hint=f"give -t a number from 1 to {MAX_THREADS}")


@contextmanager
def native_log(echo: Callable[[str], object]) -> Iterator[None]:
    """Pass llama.cpp's log lines to `echo` while it lasts."""
    _, log = _native()
    log.echo = echo
    try:
        yield
    finally:
        log.echo = None


class LlamaModel:
    """Weights in memory, or with `vocab_only` just their vocabulary.

    `gpu_layers` is how many layers to offload, -1 for all; None leaves it to llama.cpp. `repack`
    lets llama.cpp copy weights into a layout that decodes single tokens faster on this CPU. `lora`
    are adapters that `gguf.check_adapter` has seen; contexts made of the model use them.

    Raises:
        LoadError, ArchitectureError: llama.cpp refuses the file, in its own last words.
        KeyboardInterrupt: Ctrl-C came while it loaded.
    """

    def __init__(
        self,
        path: Path,
        interrupt: Interrupt,
        *,
        gpu_layers: int | None = None,
        repack: bool = True,
        vocab_only: bool = False,
        lora: tuple[Lora, ...] = (),
    ) -> None:
        self.lib, self.log = _native()
        self.path = path
        params = self.lib.llama_model_default_params()
        if gpu_layers is not None:
            params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = repack
        params.vocab_only = vocab_only
        self.native = self._load(interrupt, params)
        try:
            self.vocabulary = Vocabulary(self.lib, self.native)
            self._check(vocab_only)
            self.adapters = [(self._adapter(each.file, interrupt), each.scale) for each in lora]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the native memory, adapters included; calling it twice is fine."""
        if self.native:
            self.lib.llama_model_free(self.native)
        self.native = None

    @property
    def shares_prefixes(self) -> bool:
        """Whether any beginning of a sequence can be taken over by another one.

        Not where layers keep a state instead of all positions. Layers that see only a window of
        these are told to keep them all.
        """
        lib = self.lib
        return not (
            lib.llama_model_is_recurrent(self.native) or lib.llama_model_is_hybrid(self.native)
        )

    def _load(self, interrupt: Interrupt, params: Any) -> Any:
        lib = self.lib
        params.progress_callback = lib.llama_progress_callback(
            lambda _progress, _data: not interrupt.requested
        )
        self.log.clear()
        with interrupt.listening():
            model = lib.llama_model_load_from_file(os.fsencode(self.path), params)
        if interrupt.requested:
            lib.llama_model_free(model)  # NULL is fine
        interrupt.check()
        if model:
            return model
        words = self.log.last_words()
        if "unknown model architecture" in words:
            raise ArchitectureError(
                f"cannot load {self.path}: {words}",
                hint="a newer llama.cpp may know it: pip install -U llama-cpp-python",
            )
        raise LoadError(
            f"cannot load {self.path}: {words}",
            hint="-vv shows llama.cpp's whole log; if the file is damaged, fetch it again",
        )

    def _adapter(self, path: Path, interrupt: Interrupt) -> Any:
        self.log.clear()
        with interrupt.listening():  # as when a context is made: the log has a callback
            adapter = self.lib.llama_adapter_lora_init(self.native, os.fsencode(path))
        interrupt.check()
        if adapter:
            return adapter
        raise LoadError(
            f"cannot load the adapter {path}: {self.log.last_words()}",
            hint="-vv shows llama.cpp's whole log; if the file is damaged, fetch it again",
        )

    def _check(self, vocab_only: bool) -> None:
        lib, why = self.lib, None
        if not self.vocabulary.exists:
            why, hint = "it carries no vocabulary", "use a file that was converted with one"
        elif vocab_only:
            return
        elif lib.llama_model_has_encoder(self.native) or not lib.llama_model_has_decoder(
            self.native
        ):
            why, hint = "it is an encoder", "use a model that completes text"
        elif lib.llama_model_is_diffusion(self.native):
            why, hint = "it is a diffusion model", "use a model that goes token by token"
        if why:
            raise LoadError(f"cannot run {self.path}: {why}", hint=hint)


class LlamaContext:
    """A KV cache and the forward pass; `Samplers` choose the tokens.

    Implements `lokal.engine.engine.Backend`. Not thread-safe.

    Raises:
        SpaceError: no memory for the context.
        KeyboardInterrupt: Ctrl-C came while it was made.
    """

    def __init__(
        self, model: LlamaModel, interrupt: Interrupt, shape: Shape, *, n_threads: int
    ) -> None:
        check_threads(n_threads)
        self._lib, self._log = model.lib, model.log
        self._interrupt = interrupt
        self._last_step = 0.0
        params = self._lib.llama_context_default_params()
        params.n_ctx = shape.n_cells
        params.n_seq_max = shape.n_slots
        params.swa_full = shape.share  # else a window needs no more cells than it has positions
        params.kv_unified = not shape.streams
        if not shape.flash:
            params.flash_attn_type = NO_FLASH
        params.n_threads = params.n_threads_batch = n_threads
        self._log.clear()
        # An exception in the log's callback would be lost, and Ctrl-C with it.
        with interrupt.listening():
            self._native = self._lib.llama_init_from_model(model.native, params)
        if interrupt.requested and self._native:
            self._lib.llama_free(self._native)
        interrupt.check()
        if not self._native:
            raise SpaceError(
                f"cannot make a context of {shape.n_cells} tokens: {self._log.last_words()}",
                hint="ask for a smaller context with -c",
            )
        self._use(model.adapters)
        self._memory = self._lib.llama_get_memory(self._native)
        n_batch = min(shape.n_batch, int(self._lib.llama_n_batch(self._native)))
        self.shape = shape._replace(n_batch=n_batch)
        self._batch = _Batch(self._lib, n_batch, shape.n_slots)
        self._samplers = Samplers(
            self._lib,
            model.vocabulary,
            self._native,
            n_threads=n_threads if shape.n_parallel > 1 else 1,
            suspect="its file or an adapter's" if model.adapters else "its file",
        )
        self._silence = self._lib.ggml_abort_callback()
        self._listen = self._lib.ggml_abort_callback(lambda _: interrupt.requested)
        self._listening = False

    def _use(self, adapters: list[tuple[Any, float]]) -> None:
        lib, count = self._lib, len(adapters)
        natives = (lib.llama_adapter_lora_p_ctypes * count)(*(native for native, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        lib.llama_set_adapters_lora(self._native, natives, count, scales)

    def close(self) -> None:
        """Free the native memory; calling it twice is fine."""
        self._samplers.close()
        if self._native:
            self._lib.llama_free(self._native)
        self._native = None

    def decode(self, plan: Plan) -> list[int]:
        """Compute a plan; returns a token for each chunk that asks for one, and for its twins.

        Raises:
            KeyboardInterrupt: Ctrl-C came while it ran.
            NoSlotError: the KV cache has no place for so many tokens.
            SpaceError: no memory for it.
            DamagedFileError: the weights make no numbers.
            ValueError: the context is closed.
        """
        if not self._native:
            raise ValueError("the model is closed")
        while plan.ended:
            self._samplers.drop(plan.ended[-1])
            plan.ended.pop()
        while plan.edits:
            self._edit(plan.edits[0])
            del plan.edits[0]
        self._interrupt.check()
        rows = self._batch.fill(plan.chunks)
        self._compute()
        return self._samplers.sample(
            [
                (sequence, row)
                for chunk, row in zip(plan.chunks, rows, strict=True)
                if chunk.sample
                for sequence in (chunk.sequence, *chunk.twins)
            ]
        )

    def _edit(self, edit: Copy | Remove) -> None:
        if isinstance(edit, Copy):
            lib, (source, target, n_tokens) = self._lib, edit
            # From stream to stream only all can be copied.
            first, end = (-1, -1) if self.shape.streams else (0, n_tokens)
            lib.llama_memory_seq_cp(self._memory, source, target, first, end)
            if self.shape.streams:
                lib.llama_memory_seq_rm(self._memory, target, n_tokens, -1)
        else:
            # False is what a recurrent state says to a part; it is taken back as a whole.
            self._lib.llama_memory_seq_rm(self._memory, edit.slot, edit.start, -1)

    def _compute(self) -> None:
        # A callback after every node of the graph costs a percent or two of a fast decode, and
        # one such decode is over before anyone could tell.
        listening = self._batch.n_tokens > 1 or self._last_step > SLOW_STEP
        if listening != self._listening:
            self._listening = listening
            callback = self._listen if listening else self._silence
            self._lib.llama_set_abort_callback(self._native, callback, None)
        self._log.clear()
        start = time.perf_counter()
        with self._interrupt.listening():
            status = self._lib.llama_decode(self._native, self._batch.native)
        self._last_step = time.perf_counter() - start
        self._interrupt.check()
        if status == INVALID:
            raise RuntimeError(f"llama.cpp refused a batch: {self._log.last_words()}")
        if status:
            kind = NoSlotError if status == NO_SLOT else SpaceError
            raise kind(
                f"llama.cpp could not compute the next tokens ({status}): {self._log.last_words()}",
                hint="a smaller context (-c) needs less memory",
            )


class _Batch:
    """The arrays of a llama_batch, filled by slices: element by element takes longer in Python."""

    def __init__(self, lib: Any, n_tokens: int, n_slots: int) -> None:
        self._token = (lib.llama_token * n_tokens)()
        self._pos = (lib.llama_pos * n_tokens)()
        self._n_seq_id = (ctypes.c_int32 * n_tokens)(*([1] * n_tokens))
        self._seq_id = (ctypes.POINTER(lib.llama_seq_id) * n_tokens)()
        self._logits = (ctypes.c_int8 * n_tokens)()
        self._slots = [ctypes.pointer(lib.llama_seq_id(slot)) for slot in range(n_slots)]
        self.native = lib.llama_batch(
            0, self._token, None, self._pos, self._n_seq_id, self._seq_id, self._logits
        )

    @property
    def n_tokens(self) -> int:
        return int(self.native.n_tokens)

    def fill(self, chunks: list[Chunk]) -> list[int]:
        """Lay the chunks out one after another; returns the row of each one's last token."""
        rows, begin = [], 0
        for chunk in chunks:
            size = len(chunk.tokens)
            end = begin + size
            self._token[begin:end] = chunk.tokens
            self._pos[begin:end] = range(chunk.start, chunk.start + size)
            self._seq_id[begin:end] = [self._slots[chunk.sequence.slot]] * size
            self._logits[begin:end] = [0] * size
            self._logits[end - 1] = chunk.sample
            rows.append(end - 1)
            begin = end
        self.native.n_tokens = begin
        return rows
