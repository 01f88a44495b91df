"""Devices, drivers and instruction sets, of machines that are made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_ggml import CPU, FakeDevice, FakeGgml

from lokal.cli.outcome import exit_code
from lokal.doctor import cache, child, machine, probe
from lokal.doctor.child import ChildError
from lokal.doctor.finding import Finding
from lokal.doctor.probe import Native
from lokal.doctor.selftest import BEGINNING
from lokal.doctor.versions import check_versions
from lokal.engine import build
from lokal.hardware.devices import devices
from lokal.hardware.gpu_build import installer
from lokal.hardware.gpus import Gpu
from lokal.hardware.nvidia_smi import detailed

TOKENS = [*BEGINNING, *range(16)]
SMI = """#!/bin/sh
case "$*" in
*query*) echo "NVIDIA GeForce RTX 4090, 24564 MiB, 550.54.14, 8.9" ;;
*) echo "| NVIDIA-SMI 550.54.14   Driver Version: 550.54.14   CUDA Version: 12.4 |" ;;
esac
"""


def native(*backends: str, gpus: tuple[str, ...] = (), sets: tuple[str, ...] = ()) -> Native:
    """A build with backends, whose GPUs are of these backends."""
    made = [FakeDevice(f"{name}0", backend=name) for name in gpus]
    found = devices(FakeGgml([*made, CPU]))
    return Native("1", backends, sets, found, found[: len(gpus)])


@pytest.fixture
def rtx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a machine with an NVIDIA card, its driver and its nvidia-smi, without nvcc."""
    card = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    card.parent.mkdir(parents=True)
    card.write_text("Model: \t\t NVIDIA GeForce RTX 4090\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").write_text(SMI)
    (programs / "nvidia-smi").chmod(0o755)
    (programs / "c++").symlink_to(shutil.which("true") or "/bin/true")
    (programs / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(programs))
    return tmp_path


def test_a_gpu_and_a_build_for_the_cpu_is_the_command_that_brings_them_together(rtx: Path) -> None:
    [found] = machine.check_gpus(native("CPU"), rtx)
    assert found.state == "warning"
    assert found.message.startswith(
        "NVIDIA GeForce RTX 4090: this build of llama.cpp cannot use it"
    )
    assert found.hint
    assert found.hint.startswith("install the CUDA toolkit (nvcc), then: CMAKE_ARGS=")
    assert "-DGGML_CUDA=on" in found.hint
    assert found.hint.endswith(f"llama-cpp-python=={build.version()}")


def test_a_card_without_a_driver_needs_that_first(tmp_path: Path) -> None:
    card = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    for name, text in {"vendor": "0x10de", "class": "0x030000", "device": "0x2684"}.items():
        (card / name).write_text(text)
    [found] = machine.check_gpus(native("CPU"), tmp_path)
    assert "there is no driver for it" in found.message
    assert found.hint
    assert "the driver of NVIDIA" in found.hint
    [built] = machine.check_gpus(native("CUDA", "CPU"), tmp_path)
    assert (built.state, built.hint) == ("warning", "install the driver of NVIDIA")


def test_a_build_for_cuda_that_finds_no_device(rtx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = machine.check_gpus(native("CUDA", "CPU"), rtx)
    assert found.state == "warning"
    assert "its driver 550.54.14 runs CUDA 12.4 at most, may be too old" in found.message
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    [hidden] = machine.check_gpus(native("CUDA", "CPU"), rtx)
    assert hidden.hint == "see CUDA_VISIBLE_DEVICES"


def test_a_gpu_that_is_used_and_none_at_all(rtx: Path, tmp_path: Path) -> None:
    assert list(machine.check_gpus(native("CUDA", "CPU", gpus=("CUDA",)), rtx)) == []
    assert list(machine.check_gpus(native("Vulkan", "CPU", gpus=("Vulkan",)), rtx)) == []
    nothing = tmp_path / "nothing"
    [none] = machine.check_gpus(native("CPU"), nothing)
    assert none.state == "ok"
    [absent] = machine.check_gpus(native("CUDA", "CPU"), nothing)
    assert absent.state == "note"


def test_a_card_that_lies_idle_beside_one_that_is_used(
    monkeypatch: pytest.MonkeyPatch, rtx: Path
) -> None:
    """Without a driver, hidden, or not found."""
    one, amd = Gpu("nvidia", "RTX", driver="550"), Gpu("amd", "RX", driver="amdgpu")
    cards: list[Gpu] = []
    monkeypatch.setattr(machine, "detailed", lambda _: tuple(cards))
    cards[:] = one, one._replace(driver=None)
    [idle] = machine.check_gpus(native("CUDA", "CPU", gpus=("CUDA",)), rtx)
    assert (idle.state, idle.hint) == ("warning", "install the driver of NVIDIA")
    cards[:] = one, one
    [less] = machine.check_gpus(native("CUDA", "CPU", gpus=("CUDA",)), rtx)
    assert (less.state, less.message) == ("warning", "2 x RTX: llama.cpp finds 1 of them")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    [hidden] = machine.check_gpus(native("CUDA", "CPU", gpus=("CUDA",)), rtx)
    assert (hidden.state, hidden.hint) == ("note", "see CUDA_VISIBLE_DEVICES")
    cards[:] = one, amd
    [other] = machine.check_gpus(native("Vulkan", "CPU", gpus=("Vulkan",)), rtx)
    assert other.message.startswith("RX: llama.cpp is built for Vulkan and does not find it")


def test_instruction_sets_that_lie_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor: 0\nflags\t\t: fpu avx avx2 fma f16c avx512f\n")
    fine, idle = machine.check_build(native("CPU", sets=("AVX", "FMA", "F16C", "AVX2")), cpuinfo)
    assert fine.state == "ok"
    assert idle.state == "warning"
    assert "this CPU has AVX512, which this build does not use" in idle.message
    assert idle.hint
    assert "-DGGML_NATIVE=on" in idle.hint
    monkeypatch.setenv("PATH", str(tmp_path))
    _, idle = machine.check_build(native("CPU"), cpuinfo, tmp_path)
    assert idle.hint
    assert idle.hint.startswith("install a C++ compiler (g++), then: ")
    every = ("AVX", "FMA", "F16C", "AVX2", "AVX512")
    assert [f.state for f in machine.check_build(native("CPU", sets=every), cpuinfo)] == ["ok"]


def test_a_cgroup_that_allows_less_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(much: int, little: int) -> Any:
        return lambda cgroups=None: little if cgroups is None else much

    monkeypatch.setattr(machine, "usable_cores", within(8, 2))
    monkeypatch.setattr(machine, "total_bytes", within(64 * 10**9, 4 * 10**9))
    monkeypatch.setattr(machine, "available_bytes", lambda: 10**9)
    cores, memory = machine.check_host()
    assert cores.message == "2 cores of 8, the cgroup's quota grants no more"
    assert memory.state == "warning"
    assert memory.message.startswith("1.0 of 4.0 GB available, the cgroup's limit")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code that finds two GPUs, of which the second one fails."""
    found = [FakeDevice(), FakeDevice("CUDA1", free=0), CPU]
    FakeGgml(found).install(monkeypatch)
    monkeypatch.setattr(build, "backends", lambda: ["CUDA", "CPU"])

    def ask(module: str, *arguments: str, seconds: float) -> Any:
        assert seconds > 0
        if module == "lokal.doctor.probe":
            return json.loads(json.dumps(probe.answer()))
        if arguments == ("1",):
            raise ChildError("cannot load tiny: out of memory", "free some", 12)
        return {"tokens": TOKENS, "text": "words", "rate": 50.0}

    monkeypatch.setattr(child, "ask", ask)


@pytest.mark.usefixtures("two_gpus")
def test_of_two_gpus_one_fails(
    rtx: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The report goes on to its end, and the exit code is the failure's."""
    monkeypatch.setattr(machine, "detailed", lambda _root: detailed(rtx))
    assert exit_code(["doctor", "--json", "--offline"]) == 12
    report = json.loads(capfdbinary.readouterr().out)
    assert [device["name"] for device in report["devices"]] == ["CUDA0", "CUDA1", "CPU"]
    told = [check["message"] for check in report["checks"] if check["name"] == "device"]
    assert told[2] == "CPU: A processor"
    assert (report["devices"][2]["free"], report["devices"][2]["total"]) == (None, None)
    assert told[0] == "CUDA0: NVIDIA GeForce RTX 4090, 23.0 of 24.0 GB free; can be used"
    assert not [check for check in report["checks"] if check["name"] == "gpu"]
    tests = [check for check in report["checks"] if check["name"] == "self-test"]
    assert [test["state"] for test in tests] == ["ok", "ok", "failure"]
    assert tests[2]["message"] == "CUDA1: cannot load tiny: out of memory"


def test_a_llama_cpp_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Everything that does not need it is looked at."""

    def ask(*_: str, **__: float) -> Any:
        raise ChildError("libcuda.so.1: cannot open shared object file", "install it again")

    monkeypatch.setattr(child, "ask", ask)
    assert exit_code(["doctor", "--json", "--offline"]) == 1
    report = json.loads(capfdbinary.readouterr().out)
    assert (report["build"], report["devices"]) == (None, [])
    found = {check["name"]: check for check in report["checks"]}
    assert "libcuda.so.1" in found["build"]["message"]
    assert "disk" in found
    assert "self-test" not in found


def test_versions_that_do_not_go_together() -> None:
    have = build.version()
    assert [f.state for f in check_versions([f"llama-cpp-python<999,>={have}"])] == ["ok"]
    _, old, absent = check_versions(["llama-cpp-python<0.3,>=0.2", "no-such-package<2,>=1"])
    assert (old.state, absent.state) == ("warning", "warning")
    assert old.message == f"llama-cpp-python is {have}, this lokal is made for >=0.2,<0.3"
    assert old.hint
    assert "CMAKE_ARGS=" in old.hint
    assert old.hint.endswith(" --no-binary llama-cpp-python 'llama-cpp-python>=0.2,<0.3'")
    assert absent.hint == f"{installer()} 'no-such-package>=1,<2'"
    assert "no-such-package is missing" in absent.message


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache on a disk that cannot be written; root may write everywhere else."""
    monkeypatch.setattr(cache, "writable", lambda _: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_cache_that_cannot_be_written(read_only: Path) -> None:
    """What is there can be used, so that is a warning; an empty one is a failure."""
    [absent] = cache.check_cache()
    assert (absent.state, absent.exit_code) == ("failure", 2)
    read_only.mkdir()
    first, _ = cache.check_cache()
    assert first.state == "warning"
    assert "cannot be written" in first.message


@pytest.mark.parametrize(
    ("free", "state", "code"),
    [(1e8, "failure", 6), (9e8, "warning", 0), (5e9, "warning", 0), (5e10, "ok", 0)],
)
def test_free_disk(monkeypatch: pytest.MonkeyPatch, free: float, state: str, code: int) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - int(free), int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found: list[Finding] = list(cache.check_disk())
    assert [(f.state, f.exit_code) for f in found] == [(state, code)]
