"""Text to tokens and back, with the vocabulary of a model."""

from __future__ import annotations

import ctypes
from typing import Any


class Vocabulary:
    """`lib` is the ctypes module of llama.cpp, `model` a native handle that outlives this."""

    def __init__(self, lib: Any, model: Any) -> None:
        self._lib = lib
        self._vocab = lib.llama_model_get_vocab(model)
        self._buffer = ctypes.create_string_buffer(256)

    @property
    def n_tokens(self) -> int:
        return int(self._lib.llama_vocab_n_tokens(self._vocab))

    @property
    def exists(self) -> bool:
        """False for a file that carries weights only; every other call here would abort then."""
        return bool(self._lib.llama_vocab_type(self._vocab) != 0)

    @property
    def bos_text(self) -> str:
        return self._text(self._lib.llama_vocab_bos(self._vocab))

    @property
    def eos_text(self) -> str:
        return self._text(self._lib.llama_vocab_eos(self._vocab))

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._lib.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace")

    def is_eog(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def eog_tokens(self) -> list[int]:
        return [token for token in range(self.n_tokens) if self.is_eog(token)]

    def piece(self, token: int) -> bytes:
        """The bytes a token writes; none for control tokens."""
        n = self._lib.llama_token_to_piece(
            self._vocab, token, self._buffer, len(self._buffer), 0, False
        )
        if n < 0:
            self._buffer = ctypes.create_string_buffer(-n)
            return self.piece(token)
        return self._buffer.raw[:n]

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        """Tokens of a text in which the names of special tokens stand for these.

        `add_special` adds what the vocabulary wants around a plain text (BOS, EOS); a rendered
        chat has it already, but for templates that leave BOS to the runtime.
        """
        data = text.encode("utf-8", "surrogateescape")
        room = len(data) + 16  # no token is shorter than a byte
        tokens = (self._lib.llama_token * room)()
        n = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, room, add_special, True)
        if n < 0:
            tokens = (self._lib.llama_token * -n)()
            n = self._lib.llama_tokenize(
                self._vocab, data, len(data), tokens, -n, add_special, True
            )
        result: list[int] = tokens[:n]
        if not add_special and self._lib.llama_vocab_get_add_bos(self._vocab):
            bos = self._lib.llama_vocab_bos(self._vocab)
            if bos >= 0 and result[:1] != [bos]:
                result.insert(0, bos)
        return result
