"""A GGUF header, from a local file or from its first bytes, checked before llama.cpp sees it."""

from lokal.gguf.check import check, check_start
from lokal.gguf.header import Array, Header, TensorInfo
from lokal.gguf.reader import NeedMore, parse, read

__all__ = ["Array", "Header", "NeedMore", "TensorInfo", "check", "check_start", "parse", "read"]
