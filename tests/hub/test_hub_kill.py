"""Pulls that are cut off, and pulls at the same time."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from contents import PARTS
from machine import Machine
from standin import Standin

from lokal.hub.partial import state_path

SLOW = {"match": {"kind": "cdn"}, "throttle": 4_000_000, "times": None}  # bytes a second


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_bytes(hub: Standin, count: int) -> None:
    """Until so many more bytes are on their way."""
    before = hub.sent()
    wait_until(lambda: hub.sent(wait=0) >= before + count)


def finals(machine: Machine) -> list[Path]:
    """Everything that stands under a final name."""
    blobs = machine.cache.rglob("blobs/*")
    return [path for path in blobs if not path.name.endswith(".incomplete")]


def test_ten_kills_in_a_row_cost_little(machine: Machine, hub: Standin) -> None:
    """Whenever it dies, the next one goes on, and nothing has its name before its time."""
    random = Random(7)
    data = random.randbytes(40_000_009)
    hub.add("demo/big", "big-Q4_K_M.gguf", data)
    hub.faults({**SLOW, "throttle": 6_000_000})
    kills = 0
    for _ in range(10):
        process = machine.start("pull", "demo/big")
        wait_for_bytes(hub, 1)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        for path in finals(machine):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    hub.faults()
    assert kills == 10
    assert machine.pull("demo/big").read_bytes() == data
    assert hub.sent() <= 1.1 * len(data) + kills * (16 << 20)


@pytest.mark.parametrize("lost", ["state", "data", "garbage"])
def test_a_partial_file_without_its_note_is_no_trap(
    machine: Machine, hub: Standin, big: bytes, lost: str
) -> None:
    hub.faults(SLOW)
    process = machine.start("pull", "demo/big")
    wait_for_bytes(hub, 6_000_000)
    process.kill()
    process.communicate()
    data = next(path for path in machine.partials() if ".state" not in path.name)
    if lost == "data":
        data.unlink()
    elif lost == "state":
        state_path(data).unlink()
    else:
        state_path(data).write_text('{"size": 20000003, "boot": 1, "here": [[5, "x"]]}\n')
    hub.faults()
    assert machine.pull("demo/big").read_bytes() == big


def test_ctrl_c_keeps_what_has_arrived(machine: Machine, hub: Standin, big: bytes) -> None:
    hub.faults(SLOW)
    process = machine.start("pull", "demo/big")
    wait_for_bytes(hub, 2_000_000)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - began < 3
    assert "the same command goes on from here" in stderr
    sent = hub.sent()
    hub.faults()
    assert machine.pull("demo/big").read_bytes() == big
    assert sent > 1_000_000
    assert hub.sent() <= 1.1 * len(big) + (2 << 20)


def test_parts_are_joined_across_kills(machine: Machine, hub: Standin) -> None:
    random = Random(3)
    parts = [random.randbytes(3_000_000 + index) for index in range(3)]
    for index, part in enumerate(parts, 1):
        hub.add("demo/parts", f"g.Q2_K.gguf.part{index}of3", part)
    hub.faults(SLOW)
    for _ in range(3):
        process = machine.start("pull", "demo/parts")
        wait_for_bytes(hub, 500_000)
        process.kill()
        process.communicate()
        held = sum(path.stat().st_blocks * 512 for path in machine.partials())
        assert held <= sum(map(len, parts)) + 100_000
    hub.faults()
    path = machine.pull("demo/parts")
    assert path.read_bytes() == b"".join(parts)
    assert machine.locate("demo/parts") == path
    assert PARTS


def test_of_two_pulls_at_once_one_transfers(machine: Machine, hub: Standin, big: bytes) -> None:
    hub.faults({**SLOW, "throttle": 2_000_000})
    first = machine.start("pull", "demo/big")
    wait_until(lambda: hub.requests(kind="cdn", wait=0))
    second = machine.start("pull", "demo/big")
    one, other = machine.finish(first), machine.finish(second)
    assert one["paths"] == other["paths"]
    assert (one["fetched"], other["fetched"]) == (len(big), 0)
    said = [event[1] for event in other["events"] if event[0] == "say"]
    assert said == ["another pull of big-Q4_K_M.gguf is running; waiting for it"]
    assert hub.sent() <= 1.01 * len(big)


def test_the_second_pull_goes_on_when_the_first_one_dies(
    machine: Machine, hub: Standin, big: bytes
) -> None:
    hub.faults(SLOW)
    first = machine.start("pull", "demo/big")
    wait_until(lambda: hub.requests(kind="cdn", wait=0))
    second = machine.start("pull", "demo/big")
    assert second.stderr
    os.read(second.stderr.fileno(), 1)  # it says that it waits
    first.kill()
    first.communicate()
    hub.faults()
    stdout, _ = second.communicate(timeout=30)
    assert f'"fetched": {len(big)}' in stdout or '"fetched"' in stdout
    located = machine.locate("demo/big")
    assert located is not None
    assert located.read_bytes() == big


def test_the_library_and_a_pull_share_the_lock(machine: Machine, hub: Standin, big: bytes) -> None:
    hub.faults({**SLOW, "throttle": 10_000_000})
    code = "import huggingface_hub as h; h.hf_hub_download('demo/big', 'big-Q4_K_M.gguf')"
    env = {**machine.env, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    theirs = subprocess.Popen([*machine.interpreter, "-c", code], env=env)
    wait_until(lambda: hub.requests(kind="cdn", method="GET", wait=0))
    result = machine.call("pull", "demo/big")
    theirs.wait(30)
    assert result["fetched"] == 0
    assert Path(result["paths"][0]).read_bytes() == big
