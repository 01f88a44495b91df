"""Text to tokens and back, with the vocabulary of a model."""

from __future__ import annotations

import ctypes
import functools
import re
from typing import Any

from lokal.errors import UsageError

MAX_TEXT = 2**31 - 1  # bytes; llama.cpp counts them in 32 bits
# Four bytes in the form of UTF-8 that spell a number beyond Unicode's last. With GPT-2's kind of
# vocabulary llama.cpp takes them for a character, fails to write it, and ends the process.
_BEYOND = re.compile(rb"(?:\xf4[\x90-\xbf]|[\xf5-\xf7][\x80-\xbf])[\x80-\xbf]{2}")
SENTENCEPIECE = 1  # enum llama_vocab_type

_ROOM = 256  # bytes; most tokens write fewer than ten
_Piece = ctypes.c_char * _ROOM


class Vocabulary:
    """`lib` is the ctypes module of llama.cpp, `model` a native handle that outlives this.

    Any thread may use it.
    """

    def __init__(self, lib: Any, model: Any) -> None:
        self._lib = lib
        self._model = model
        self._vocab = lib.llama_model_get_vocab(model)

    @property
    def n_tokens(self) -> int:
        return int(self._lib.llama_vocab_n_tokens(self._vocab))

    @property
    def exists(self) -> bool:
        """False for a file that carries weights only; every other call here would abort then."""
        return bool(self._lib.llama_vocab_type(self._vocab) != 0)

    @property
    def adds_space(self) -> bool:
        """Whether texts get a space in front, as SentencePiece does it; answers begin with one."""
        if self._lib.llama_vocab_type(self._vocab) != SENTENCEPIECE:
            return False
        key, value = b"tokenizer.ggml.add_space_prefix", ctypes.create_string_buffer(8)
        n = self._lib.llama_model_meta_val_str(self._model, key, value, len(value))
        return n < 0 or value.value == b"true"

    @property
    def bos_text(self) -> str:
        return self._text(self._lib.llama_vocab_bos(self._vocab))

    @property
    def eos_text(self) -> str:
        return self._text(self._lib.llama_vocab_eos(self._vocab))

    def _text(self, token: int) -> str:
        if not 0 <= token < self.n_tokens:  # none, or a default that this vocabulary lacks
            return ""
        text: bytes = self._lib.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace")

    def is_eog(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def eog_tokens(self) -> list[int]:
        return self._eog_tokens

    @functools.cached_property
    def _eog_tokens(self) -> list[int]:
        return [token for token in range(self.n_tokens) if self.is_eog(token)]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes a token writes; control tokens write none, or their name where `special`."""
        buffer: ctypes.Array[ctypes.c_char] = _Piece()  # of this call: others may be under way
        n = self._lib.llama_token_to_piece(self._vocab, token, buffer, _ROOM, 0, special)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = self._lib.llama_token_to_piece(self._vocab, token, buffer, -n, 0, special)
        return buffer.raw[:n]

    def spelling(self, token: int) -> bytes:
        """What tells a token from others: the bytes it writes, or that it is this control token."""
        return self.piece(token) or b"\xff<%d>" % token

    def native(self) -> tuple[int, int]:
        """Addresses of the native vocabulary and of llama.cpp's tokenizer, for native code."""
        tokenize = ctypes.cast(self._lib._lib.llama_tokenize, ctypes.c_void_p).value
        return int(self._vocab), int(tokenize or 0)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of a text in which the names of special tokens stand for these.

        BOS stands in front where the vocabulary wants it, once, even if the text spells it out.
        EOS is never added: the text is to be continued.

        Raises:
            UsageError: the text cannot be written as bytes, or is longer than 2 GB.
        """
        data = _encode(text)
        room = len(data) + 16  # no token is shorter than a byte
        tokens = (self._lib.llama_token * room)()
        n = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, room, False, True)
        if n < 0:
            tokens = (self._lib.llama_token * -n)()
            n = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, -n, False, True)
        result: list[int] = tokens[:n]
        if self._lib.llama_vocab_get_add_bos(self._vocab):
            bos = self._lib.llama_vocab_bos(self._vocab)
            if bos >= 0 and result[:1] != [bos]:
                result.insert(0, bos)
        return result


def _encode(text: str) -> bytes:
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the prompt holds U+{ord(text[error.start]):04X}, half a character",
            hint="mend the program that wrote it",
        ) from None
    if len(data) > MAX_TEXT:
        raise UsageError(f"the prompt has {len(data)} bytes", hint="shorten it")
    return data if text.isascii() else _BEYOND.sub("\N{REPLACEMENT CHARACTER}".encode(), data)
