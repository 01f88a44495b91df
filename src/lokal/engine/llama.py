"""llama.cpp, through llama-cpp-python's low-level API; the only importer of llama_cpp.

A broken precondition in native code aborts the process, so every one that input can reach is
checked here, or in `lokal.gguf` before the file gets here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lokal.engine.accounting import Buffer, buffers
from lokal.engine.interrupt import Interrupt
from lokal.engine.native_log import NativeLog
from lokal.engine.offload import CPU_ONLY, Offload
from lokal.engine.vocabulary import Vocabulary
from lokal.errors import ArchitectureError, LoadError, SpaceError, UsageError

if TYPE_CHECKING:
    from lokal.engine.lora import Lora

_UNLOCKED = "failed to mlock"
MAX_THREADS = 512  # GGML_MAX_N_THREADS; more are a broken precondition


class AllocationError(SpaceError):
    """llama.cpp asked for memory and was given none; less of it may be had."""


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

    `offload` says where its layers go. `repack` lets llama.cpp copy weights into a layout that
    decodes single tokens faster on this CPU. `lora` are adapters that `gguf.check_adapter` has
    seen; contexts made of the model use them. `buffers` are what the weights took, `unlocked` is
    llama.cpp's complaint if they could not be kept in memory as was asked for.

    Raises:
        LoadError, ArchitectureError: llama.cpp refuses the file, in its own last words.
        AllocationError: no memory for the weights or an adapter.
        UsageError: rows are to be split, and a device cannot do that.
        KeyboardInterrupt: Ctrl-C came while it loaded.
    """

    def __init__(
        self,
        path: Path,
        interrupt: Interrupt,
        *,
        offload: Offload = CPU_ONLY,
        repack: bool = True,
        vocab_only: bool = False,
        lora: tuple[Lora, ...] = (),
    ) -> None:
        self.lib, self.log = _native()
        self.path = path
        params = self.lib.llama_model_default_params()
        offload.apply(params)
        params.use_extra_bufts = repack
        params.vocab_only = vocab_only
        self.native = self._load(interrupt, params)
        self.buffers: list[Buffer] = buffers(self.log.lines)
        told = (line.splitlines()[0] for line in self.log.lines if _UNLOCKED in line)
        self.unlocked = next(told, None)
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
        # Somebody else in this process may have taken it, as llama_cpp's own package does.
        lib.llama_log_set(self.log.callback, None)
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
        if self.log.lacked_memory:
            raise AllocationError(
                f"no memory for the weights: {words}",
                hint="close what else needs memory, or take a smaller quantization",
            )
        if "does not support split buffers" in words:
            raise UsageError(f"--split row: {words}", hint="--split layer is for all GPUs")
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
        words = self.log.last_words()
        if self.log.lacked_memory:
            raise AllocationError(
                f"no memory for the adapter {path}: {words}",
                hint="close what else needs memory, or leave the adapter out",
            )
        raise LoadError(
            f"cannot load the adapter {path}: {words}",
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
