"""What the installed llama.cpp says of itself."""

from __future__ import annotations

import re

import pytest
from fake_ggml import CPU, FakeDevice, FakeGgml

from lokal.engine import build


def test_versions() -> None:
    assert re.match(r"\d+\.\d+", build.version())
    assert re.search(r"\d", build.llama_version())


def test_the_backends_of_this_build() -> None:
    assert "CPU" in build.backends()


def test_the_backends_of_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGgml([FakeDevice(), FakeDevice("CUDA1"), CPU]).install(monkeypatch)
    assert build.backends() == ["CUDA", "CPU"]


def test_instruction_sets_of_this_build() -> None:
    """Names only; what else ggml lists with them is left out."""
    found = build.instruction_sets()
    assert all(re.fullmatch(r"[A-Z0-9_]+", name) for name in found)
    assert "OPENMP" not in found


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("CPU : SSE3 = 1 | AVX2 = 1 | LLAMAFILE = 1 | REPACK = 1 | ", ["SSE3", "AVX2"]),
        ("CUDA : ARCHS = 890 | USE_GRAPHS = 1 | CPU : AVX = 1 | ", ["AVX"]),
        ("CPU : NEON = 1 | SVE_CNT = 32 | SVE = 0 | MTL : EMBED_LIBRARY = 1 | ", ["NEON"]),
        ("", []),
    ],
)
def test_instruction_sets_out_of_what_llama_cpp_prints(info: str, expected: list[str]) -> None:
    assert build._instruction_sets(info) == expected
