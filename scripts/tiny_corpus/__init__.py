"""The generated corpus of the `tiny` model: everything it will ever have read."""

from .corpus import Message, conversations

__all__ = ["Message", "conversations"]
