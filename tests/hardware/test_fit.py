"""Whether a model fits, before there is a header to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from lokal.hardware import fit, memory

GB = 10**9


@pytest.mark.parametrize(
    ("limits", "total"),
    [
        ({}, 16 * 2**30),
        ({"memory.max": "max\n"}, 16 * 2**30),
        ({"memory.max": str(2**30)}, 2**30),
        ({"memory.limit_in_bytes": str(2**30)}, 2**30),
        ({"memory.limit_in_bytes": str(2**63)}, 16 * 2**30),
    ],
)
def test_the_memory_is_the_machines_within_the_cgroup(
    tmp_path: Path, limits: dict[str, str], total: int
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: 2 kB\n")
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.total_bytes(meminfo, [tmp_path]) == total


def test_weights_need_more_than_their_size() -> None:
    """Mistral 7B in Q4_K_M: 4.37 GB, 0.54 GB of KV cache for 4096 tokens, 0.3 GB of buffers."""
    assert 5.2 * GB <= fit.needed(int(4.37 * GB)) <= 5.5 * GB


@pytest.mark.parametrize(("total", "fits"), [(None, None), (8 * GB, True), (6 * GB, False)])
def test_the_system_needs_room_too(
    monkeypatch: pytest.MonkeyPatch, total: int | None, fits: bool | None
) -> None:
    monkeypatch.setattr(fit, "total_bytes", lambda: total)
    assert fit.fits(int(4.37 * GB)) is fits
