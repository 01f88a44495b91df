"""What is predicted from a header against what llama.cpp would allocate, for every architecture."""

from __future__ import annotations

import itertools
from pathlib import Path

import accounts
import pytest
import shapes
from accounts import MIB, Account

from lokal import gguf
from lokal.hardware.fit import Needs, Room, needs
from lokal.hardware.kv import keeps_state

WITHOUT_FLASH = {"grok"}
CONTEXTS = (512, 4096, 32768)
SEQUENCES = ((1, 1), (4, 4), (1, 4))  # streams and slots: alone, each in its own, all in one
CACHES = (("f16", True), ("q8_0", True), ("f16", False))
MATRIX = [
    Room(n_cells, *sequences, key_type=kind, value_type=kind, flash=flash)
    for n_cells, sequences, (kind, flash) in itertools.product(CONTEXTS, SEQUENCES, CACHES)
]
MATRIX += [
    Room(6000, 1, 80, 512),  # a pool with spare slots, and a row of logits for each
    Room(8192, 16, 16, 512, flash=False),
    Room(5000, 3, 3, whole_windows=True),  # sizes that have to be rounded
    Room(300, n_batch=100),
]


def near(needed: Needs, account: Account) -> bool:
    """Weights and cache to the log's last digit, the buffer within a quarter, all within 2 %."""
    digits = 0.02 * MIB
    return (
        needed.weights == account.model
        and abs(needed.kv - account.cache) <= digits
        and abs(needed.results - account.output) <= digits
        and abs(needed.compute - account.compute) <= max(0.25 * account.compute, 4 * MIB)
        and needed.compute >= 0.94 * account.compute
        and abs(needed.total - account.total) <= 0.02 * account.total
    )


def check(path: Path, rooms: list[Room]) -> None:
    header = gguf.check(path)
    with accounts.read(path) as file:
        assert keeps_state(header) == file.keeps_state
        for room in rooms:
            needed, account = needs(header, room), file.account(room)
            assert near(needed, account), (room, needed._replace(layers=()), needed.kv, account)


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_needs_are_what_llama_cpp_accounts_for(tmp_path: Path, name: str) -> None:
    arch = shapes.SHAPES[name].arch
    rooms = [room for room in MATRIX if room.key_type == "f16" or arch not in WITHOUT_FLASH]
    if "ssm.state_size" in shapes.SHAPES[name].more:
        # States are allocated even so, and a context's size means nothing to them.
        rooms = [room for room in rooms if room.n_slots < 80 and room.n_cells != 512]
    check(shapes.write(tmp_path, name), rooms)


def test_needs_of_the_embedded_model(tiny: Path) -> None:
    check(tiny, MATRIX)
