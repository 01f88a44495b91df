"""The types that numbers of the KV cache may have."""

from __future__ import annotations

from lokal.errors import UsageError
from lokal.gguf import Header

# Numbers in a block, and bytes a block.
TYPES = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "q8_0": (32, 34), "q5_1": (32, 24),
    "q5_0": (32, 22), "q4_1": (32, 20), "q4_0": (32, 18), "iq4_nl": (32, 18),
}  # fmt: skip
PLAIN = tuple(name for name, (block, _) in TYPES.items() if block == 1)


def check_kv_type(name: str) -> None:
    """Raises: UsageError: no type that llama.cpp's tools know for the cache."""
    if name not in TYPES:
        raise UsageError(
            f"--kv-type: there is no type {name!r}", hint=f"give one of {', '.join(TYPES)}"
        )


def check_kv_types(header: Header, key_type: str, value_type: str, *, flash: bool = True) -> None:
    """Refuse what llama_init_from_model would, or what would break a cache without a word.

    Without `flash` attention it does not look at the sizes of heads, and computes nonsense.

    Raises:
        UsageError: types that this model cannot have.
    """
    check_kv_type(key_type)
    check_kv_type(value_type)
    architecture = header.architecture
    if value_type not in PLAIN and not flash:
        raise UsageError(
            f"values of type {value_type} need flash attention",
            hint="leave out --flash-attn off, or give the values another type, such as f16",
        )
    if value_type not in PLAIN and architecture == "grok":
        raise UsageError(
            f"values of type {value_type} need flash attention, which llama.cpp lacks for grok",
            hint="give the values another type, such as f16",
        )
    compressed = header.integer(header.own("attention.key_length_mla"))
    if key_type != value_type and (compressed or architecture == "deepseek4"):
        raise UsageError(
            f"keys of type {key_type} and values of type {value_type}",
            hint="this model keeps both in one: give them the same type",
        )
    _check_heads(header, "key", key_type, header.key_length)
    _check_heads(header, "value", value_type, header.value_length)


def _check_heads(header: Header, what: str, kind: str, length: int) -> None:
    """Heads must be made of whole blocks; those of sliding windows may have a size of their own."""
    windowed = header.integer(header.own(f"attention.{what}_length_swa")) or 0
    block, _ = TYPES[kind]
    odd = next((size for size in (length, windowed) if size % block), None)
    if odd is not None:
        raise UsageError(
            f"{what}s of {odd} numbers are no whole blocks of {block}, as {kind} keeps them",
            hint=f"give one of {', '.join(PLAIN)}",
        )
