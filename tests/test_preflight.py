"""What is refused by the first bytes of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ggufs
import pytest
from fake_ggml import CPU, FakeDevice, FakeGgml

from lokal import gguf
from lokal.catalog import quants
from lokal.engine import build
from lokal.errors import ArchitectureError, DamagedFileError, LayoutError, LoadError, SpaceError
from lokal.hardware.fit import Room, needs
from lokal.hub.client import Offer
from lokal.preflight import Machine, Preflight

GB = 10**9
SIZES = {f"x-{quant}.gguf": size * GB for quant, size in [("Q8_0", 50), ("Q4_K_M", 28)]}
SIZES |= {"x-Q2_K.gguf": 17 * GB, "mmproj-x.gguf": GB, "x-Q3_K-00001-of-00002.gguf": 9 * GB}
SIZES |= {"x-Q3_K-00002-of-00002.gguf": 9 * GB}


class Start:
    """The start of a file, read from a local one; remembers how much was asked for."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.asked: list[int] = []

    def __call__(self, size: int) -> bytes:
        self.asked.append(size)
        return self.data[:size]


def offer(selector: str = "Q4_K_M", sizes: dict[str, int] | None = None) -> Offer:
    sizes = sizes or SIZES
    return Offer("demo/x", quants.choose(sizes, selector), sizes)


def look(path: Path, memory: int | None = None, ctx: int | None = None, **asked: Any) -> Start:
    """Look at a file, on a machine with that much memory."""
    start = Start(path)
    size = path.stat().st_size
    machine = Machine(memory, build.knows)
    Preflight(ctx, machine=machine, **asked)(offer(sizes={"x-Q4_K_M.gguf": size}), start)
    return start


def test_a_good_model_passes(llama: Path) -> None:
    assert look(llama, 10 * GB).asked == [min(4 << 20, llama.stat().st_size)]


def test_this_machine_has_memory_and_knows_llama() -> None:
    machine = Machine.here()
    assert machine.memory is None or machine.memory > 10**8
    assert machine.knows("llama")


@pytest.mark.parametrize("name", ["llama", "grok", "qwen3moe", "gpt-oss", "mistral3"])
def test_llama_cpp_knows_its_architectures(name: str) -> None:
    assert build.knows(name)


@pytest.mark.parametrize("name", ["martian", "llama-from-mars", "xgrok2"])
def test_llama_cpp_knows_no_others(name: str) -> None:
    assert not build.knows(name)


def test_memory_of_gpus_counts_unless_it_is_the_main_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Machine.here().memory
    assert before is not None
    FakeGgml([FakeDevice(total=24 * GB), FakeDevice(total=8 * GB), CPU]).install(monkeypatch)
    assert Machine.here().memory == before + 32 * GB
    FakeGgml([FakeDevice(kind="integrated", backend="MTL"), CPU]).install(monkeypatch)
    assert Machine.here().memory == before


def test_an_unknown_architecture(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "x.gguf", "martian")
    with pytest.raises(ArchitectureError, match="'martian'"):
        look(path)


def test_an_obsolete_layout(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "x.gguf", "mixtral-2023")
    with pytest.raises(LayoutError, match="one tensor per expert"):
        look(path)


def test_a_projector(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "x.gguf", metadata={"general.type": "mmproj"})
    with pytest.raises(LoadError, match="projector"):
        look(path)


@pytest.mark.parametrize("content", [b"<!doctype html>", b"GGUF", b"GGUF" + bytes(100)])
def test_no_gguf_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises((DamagedFileError, LoadError)):
        look(tmp_path / "x.gguf")


def test_a_file_that_the_hub_has_truncated(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(llama.read_bytes()[:-1000])
    with pytest.raises(DamagedFileError, match="truncated"):
        look(tmp_path / "x.gguf")


def test_a_long_header_is_asked_for_bit_by_bit(tmp_path: Path) -> None:
    path = ggufs.write(tmp_path / "x.gguf", metadata={"general.description": "x" * 10_000_000})
    asked = look(path).asked
    assert asked[0] == 4 << 20
    assert len(asked) <= 3
    assert asked[-1] >= 10_000_000


@pytest.mark.parametrize(
    ("memory", "selector", "fits"),
    [
        (64, "Q8_0", None),
        (32, "Q8_0", "x-Q4_K_M.gguf (28.00 GB)"),
        (20, "Q4_K_M", "x-Q3_K.gguf (18.00 GB)"),
        (18, "Q4_K_M", "x-Q2_K.gguf (17.00 GB)"),
        (18, "Q3_K", "x-Q2_K.gguf (17.00 GB)"),
        (8, "Q4_K_M", "nothing in demo/x fits"),
    ],
)
def test_what_does_not_fit_names_the_largest_that_does(
    llama: Path, memory: int, selector: str, fits: str | None
) -> None:
    check = Preflight(machine=Machine(memory * GB, build.knows))
    if fits is None:
        check(offer(selector), Start(llama))
        return
    with pytest.raises(SpaceError) as caught:
        check(offer(selector), Start(llama))
    assert f"this machine has {memory}.0 GB" in caught.value.message
    assert fits in caught.value.hint
    assert "--force" in caught.value.hint


def test_the_context_that_is_asked_for_counts(llama: Path) -> None:
    look(llama, GB)
    with pytest.raises(SpaceError, match="context of 100000000 tokens"):
        look(llama, GB, ctx=100_000_000)


def test_the_type_of_the_cache_counts_and_mapped_weights_do_not(llama: Path) -> None:
    """What `llm run` would be able to load is fetched."""
    ctx = 10**6
    memory = needs(gguf.check(llama), Room(ctx)).total  # and nothing for the process
    with pytest.raises(SpaceError):
        look(llama, memory, ctx)
    look(llama, memory, ctx, kv_types=("q8_0", "q8_0"))
    look(llama, memory, ctx, mapped=True)


def test_where_nobody_knows_the_memory_nothing_is_too_large(llama: Path) -> None:
    Preflight(machine=Machine(None, build.knows))(offer("Q8_0"), Start(llama))
