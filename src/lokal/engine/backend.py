"""The forward pass: batches in, tokens out, through llama.cpp."""

from __future__ import annotations

import ctypes
import time
from typing import Any, NoReturn

from lokal.engine.accounting import Buffer, buffers
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import AllocationError, LlamaModel, check_threads
from lokal.engine.plan import Chunk, NoSlotError, Plan, Shape
from lokal.engine.prefix import Copy, Remove
from lokal.engine.samplers import Samplers
from lokal.errors import LoadError, SpaceError

NO_SLOT, INVALID = 1, -1  # what llama_decode returns
SLOW_STEP = 0.25  # seconds; a decode of one token this slow listens for Ctrl-C too
FLASH = {"auto": -1, "off": 0, "on": 1}  # enum llama_flash_attn_type
# enum ggml_type
TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}


class LlamaContext:
    """A KV cache and the forward pass; `Samplers` choose the tokens.

    Implements `lokal.engine.engine.Backend`. Not thread-safe. `buffers` are what it took.

    Raises:
        AllocationError: no memory for the context.
        LoadError: llama.cpp refuses it for another reason, in its own words.
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
        # A row of logits for each sequence; the default makes room for one for each token.
        params.n_outputs_max = shape.n_slots
        params.flash_attn_type = FLASH[shape.flash]
        params.type_k, params.type_v = TYPES[shape.key_type], TYPES[shape.value_type]
        params.n_threads = params.n_threads_batch = n_threads
        self._log.clear()
        # An exception in the log's callback would be lost, and Ctrl-C with it.
        with interrupt.listening():
            self._native = self._lib.llama_init_from_model(model.native, params)
        if interrupt.requested and self._native:
            self._lib.llama_free(self._native)
        interrupt.check()
        if not self._native:
            self._refuse(shape)
        self.buffers: list[Buffer] = buffers(self._log.lines)
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

    def _refuse(self, shape: Shape) -> NoReturn:
        words = self._log.last_words()
        if self._log.lacked_memory:
            raise AllocationError(
                f"no memory for a context of {shape.n_cells} tokens: {words}",
                hint="ask for a smaller context with -c",
            )
        raise LoadError(
            f"cannot make a context of {shape.n_cells} tokens: {words}",
            hint="-vv shows llama.cpp's whole log",
        )

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
