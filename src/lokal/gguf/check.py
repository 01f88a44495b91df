"""What must be refused before llama.cpp touches a file.

llama.cpp reports most bad files, but some content makes it abort the process or read out of
bounds: a GGML_ASSERT takes every running request with it. All of that stands in the header.
"""

from __future__ import annotations

import dataclasses
import errno
import mmap
import re
from collections.abc import Callable
from pathlib import Path

from lokal.errors import DamagedFileError, LayoutError, LoadError, ModelNameError, SpaceError
from lokal.gguf.flaws import flaw
from lokal.gguf.header import Header
from lokal.gguf.reader import MAGIC, Buffer, NeedMore, parse

# What people download by mistake, by its first bytes.
_LOOKALIKES: tuple[tuple[bytes, str], ...] = (
    (rb"\s*<(!doctype|html|\?xml)", "a web page, perhaps a login or error page"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the weights it points to"),
    (rb"PK\x03\x04", "a zip archive or a PyTorch checkpoint"),
    (rb".{8}\{\s*\"", "a safetensors file"),
    (rb"\x80[\x02-\x05]", "a pickled PyTorch checkpoint"),
    (rb"\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed archive"),
    (rb"tjgg|fmgg|lmgg|algg", "a GGML file from before GGUF (August 2023)"),
    (rb"[\t\r\n\x20-\x7e]{4,}", "a text file"),
    (rb"\x00+", "zeros, an unfinished download"),
)

_NO_MODELS = {
    "mmproj": "a projector, which gives another model eyes or ears",
    "clip": "a projector, which gives another model eyes or ears",
    "adapter": "a LoRA adapter, which changes another model",
    "imatrix": "an importance matrix, an aid to quantizing",
}

# They load, but have no next token to give: llama.cpp aborts, or returns no logits, when asked.
_NO_GENERATORS = re.compile(
    r".*bert.*|t5|t5encoder|.*-embed(ding)?|wavtokenizer-dec|eagle3|dflash|.*-assistant|.*tts"
    r"|dream|llada|llada-moe|rnd1"
)

_EXPERT = re.compile(r"blk\.\d+\.ffn_(gate|up|down)\.\d+\.weight")
_MERGED_EXPERTS = {
    "llama": "mradermacher/Mixtral-8x7B-Instruct-v0.1-GGUF",
    "grok": "mradermacher/grok-1-GGUF",
}
_SHARD = re.compile(r"(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf")
_PART = re.compile(r"(?P<whole>.+)\.part\d+of\d+")


def check(path: Path) -> Header:
    """Read a model's header, and refuse what llama.cpp would choke on.

    For the first shard of a split model, its siblings are checked as well, and the tensors of all
    of them are in the header.

    Raises:
        ModelNameError: no such file.
        LoadError: unreadable, or no language model, or not the first shard.
        LayoutError: an obsolete tensor layout.
        DamagedFileError: not a GGUF file, truncated, or content that is broken or hostile.
    """
    header = _check_file(path)
    if header.split_no:
        raise LoadError(
            f"{path} is shard {header.split_no + 1} of {header.split_count}",
            hint=f"name the first shard: {_sibling(path, 0)}",
        )
    shards = [_shard(path, number, header) for number in range(1, header.split_count)]
    header = dataclasses.replace(
        header,
        tensors=tuple(tensor for shard in (header, *shards) for tensor in shard.tensors),
        file_size=sum(shard.file_size for shard in (header, *shards)),
    )
    _refuse_layout(path, header)
    return header


def check_start(name: str, start: bytes, size: int) -> Header:
    """Refuse what can be refused by the first bytes of a file of `size` bytes in all.

    Of a split model only the first shard is looked at.

    Raises:
        NeedMore: the header goes on beyond `start`.
        LoadError: as `check`.
    """
    path = Path(name)
    _refuse_lookalikes(path, start[:64])
    try:
        header = _check_buffer(path, start, size)
    except NeedMore as more:
        if len(start) < size:
            raise
        raise _truncated(path, size, f"more than {more.size}") from None
    _refuse_layout(path, header)
    return header


def _check_file(path: Path) -> Header:
    """Everything that one file shows by itself."""
    return with_file(path, _check_buffer)


def with_file(path: Path, judge: Callable[[Path, Buffer, int], Header]) -> Header:
    """What `judge` makes of a file's path, content and size.

    Raises:
        ModelNameError: no such file.
        LoadError: it cannot be read.
        SpaceError: there is no address space for it.
        DamagedFileError: it is not a GGUF file, or ends within its header.
    """
    try:
        size = _size(path)
        with path.open("rb") as file:
            if part := _PART.fullmatch(path.name):
                raise LoadError(
                    f"{path} is one piece of a file that was cut up",
                    hint=f"join the pieces in order: cat {part['whole']}.part* > {part['whole']}",
                )
            _refuse_lookalikes(path, file.read(64))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                try:
                    return judge(path, buffer, size)
                except NeedMore as more:
                    raise _truncated(path, size, f"more than {more.size}") from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise SpaceError(
                f"no memory to read {path}", hint="raise the limit (ulimit -v), or free some memory"
            ) from None
        reason = getattr(error, "strerror", None) or error
        raise LoadError(
            f"cannot read {path}: {reason}", hint="check the file's permissions and its disk"
        ) from None


def parsed(path: Path, buffer: Buffer, size: int) -> Header:
    """The header of a file that is as long as it says, whatever else it holds."""
    try:
        header = parse(buffer)
    except LoadError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from None
    if size < header.file_size:
        raise _truncated(path, size, f"{header.file_size}")
    return header


def _check_buffer(path: Path, buffer: Buffer, size: int) -> Header:
    header = parsed(path, buffer, size)
    if not header.split_no:
        _refuse_other_kinds(path, header)
    if found := flaw(header, buffer):
        raise DamagedFileError(
            f"{path}: {found}", hint="the file is broken or hostile: take it from another source"
        )
    return header


def _size(path: Path) -> int:
    if path.is_dir():
        raise LoadError(f"{path} is a directory", hint="name the .gguf file in it")
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNameError(f"no such file: {path}", hint="check the path") from None
    if not path.is_file():
        raise LoadError(f"{path} is no regular file", hint="download it to a file first")
    if not size:
        raise DamagedFileError(f"{path} is empty", hint="pull the file again")
    return size


def _refuse_lookalikes(path: Path, start: bytes) -> None:
    if start[: len(MAGIC)] == MAGIC[: len(start)]:
        return
    for pattern, what in _LOOKALIKES:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            raise DamagedFileError(
                f"{path} is not a GGUF file; it looks like {what}",
                hint="look for a .gguf of the same model",
            )
    raise DamagedFileError(
        f"{path} is not a GGUF file", hint="look for a .gguf of the same model, or pull it again"
    )


def _refuse_other_kinds(path: Path, header: Header) -> None:
    architecture = header.architecture
    what = _NO_MODELS.get(header.type) or _NO_MODELS.get(architecture)
    if what:
        hint = "name the model that it belongs to"
        if header.type == "adapter":
            hint += ", and this file with --lora"
        raise LoadError(f"{path} is {what}", hint=hint)
    if not architecture:
        raise DamagedFileError(
            f"{path} names no architecture", hint="take the model from another source"
        )
    if _NO_GENERATORS.fullmatch(architecture):
        raise LoadError(
            f"{path} holds a model of type {architecture}, which writes no text token by token",
            hint="choose a model that generates text",
        )


def _refuse_layout(path: Path, header: Header) -> None:
    if any(_EXPERT.fullmatch(tensor.name) for tensor in header.tensors):
        repository = _MERGED_EXPERTS.get(header.architecture)
        raise LayoutError(
            f"{path} stores one tensor per expert, a layout dropped in April 2024",
            hint=f"{repository} has files that work" if repository else "pull a newer conversion",
        )


def _shard(path: Path, number: int, first: Header) -> Header:
    """A further shard, checked the way llama.cpp will read it."""
    sibling = _sibling(path, number)
    if sibling is None:
        raise LoadError(
            f"{path} is split in {first.split_count}, but its name does not say so",
            hint=f"rename it to NAME-00001-of-{first.split_count:05}.gguf, and the others likewise",
        )
    try:
        header = _check_file(sibling)
    except ModelNameError:
        raise LoadError(
            f"shard {number + 1} of {first.split_count} is missing: {sibling}",
            hint="pull the model again; the same command continues",
        ) from None
    if header.split_no != number:
        raise DamagedFileError(
            f"{sibling} says that it is shard {header.split_no + 1}, not {number + 1}",
            hint="pull that file again",
        )
    return header


def _sibling(path: Path, number: int) -> Path | None:
    shard = _SHARD.fullmatch(path.name)
    return shard and path.with_name(f"{shard['stem']}-{number + 1:05}-of-{shard['count']}.gguf")


def _truncated(path: Path, have: int, expected: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path} is truncated: it has {have} bytes of {expected}",
        hint="pull it again; the same command continues",
    )
