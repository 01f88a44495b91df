"""A model's sizes by its header, where nothing that stands there is believed to be sane."""

from __future__ import annotations

from collections.abc import Sequence

from lokal.gguf import Header

_MOST = 2**31 - 1  # llama.cpp reads 32 bits
_MOST_LAYERS = 1024


class Sizes:
    """Numbers of a header from 0 to 2^31, whatever it says; 0 where it says nothing."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.architecture = header.architecture
        self.blocks = min(self.number("block_count"), _MOST_LAYERS)
        # Layers that predict further tokens stand last; they are not loaded.
        self.layers = max(0, self.blocks - self.number("nextn_predict_layers"))
        self.width = self.number("embedding_length")
        self.vocabulary = clamped(header.vocabulary_size)
        self.heads = self.per_layer("attention.head_count")
        self.kv_heads = self.per_layer("attention.head_count_kv", self.heads)
        self.feed_forward = self.per_layer("feed_forward_length")
        head = self.width // self.heads[0] if self.heads and self.heads[0] else 0
        self.key = self.number("attention.key_length", head)
        self.value = self.number("attention.value_length", head)
        mla = self.number("attention.key_length_mla"), self.number("attention.value_length_mla")
        self.key_mla, self.value_mla = mla if all(mla) else (0, 0)

    def number(self, key: str, default: int = 0) -> int:
        value = self._header.integer(self._header.own(key))
        return clamped(default if value is None else value)

    def numbers(self, key: str) -> tuple[int, ...]:
        """An array of numbers or of truths; empty where it is no array."""
        value = self._header.metadata.get(self._header.own(key))
        if not isinstance(value, tuple):
            return ()
        return tuple(clamped(item) if isinstance(item, int) else 0 for item in value)

    def per_layer(self, key: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """A number for each block; the file gives one for all of them, or one each."""
        listed = self.numbers(key) or (
            default
            if self._header.integer(self._header.own(key)) is None
            else (self.number(key),) * self.blocks
        )
        return (*listed[: self.blocks], *(0,) * (self.blocks - len(listed)))


def clamped(number: int) -> int:
    return max(0, min(number, _MOST))


def padded(number: int, step: int) -> int:
    return -(-number // step) * step
