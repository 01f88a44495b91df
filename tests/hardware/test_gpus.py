"""GPUs of a machine, out of trees of files as kernels and drivers make them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lokal.hardware import nvidia_smi
from lokal.hardware.gpu_build import install_command, missing_tools
from lokal.hardware.gpus import Gpu, present
from lokal.hardware.nvidia_smi import detailed

GB = 10**9
DRIVEN = Gpu("nvidia", "NVIDIA GeForce RTX 4090", driver="550.54.14")
TABLE = "| NVIDIA-SMI 550.54.14    Driver Version: 550.54.14    CUDA Version: 12.4    |\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def card(
    vendor: str, slot: str = "0000:01:00.0", kind: str = "0x030000", **more: str
) -> dict[str, str]:
    """A PCI device: its files in sysfs."""
    files = {"vendor": vendor + "\n", "device": "0x744c\n", "class": kind + "\n", **more}
    return {f"sys/bus/pci/devices/{slot}/{name}": text for name, text in files.items()}


def nvidia(root: Path) -> Path:
    """A machine with an NVIDIA card and its driver."""
    information = "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 188\nGPU UUID: \t GPU-0\n"
    files = {
        "proc/driver/nvidia/gpus/0000:01:00.0/information": information,
        "sys/module/nvidia/version": "550.54.14\n",
    }
    return write(root, files | card("0x10de"))


def linux(root: Path) -> tuple[Gpu, ...]:
    return present(root, "linux", "x86_64")


def tool(folder: Path, body: str, name: str = "nvidia-smi") -> None:
    """A program on PATH that is a shell script."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_no_gpu(tmp_path: Path) -> None:
    assert linux(tmp_path) == ()
    audio = card("0x10de", kind="0x040300") | card("0x8086", "0000:00:02.0")
    assert linux(write(tmp_path, audio)) == ()


def test_an_nvidia_card_and_its_driver(tmp_path: Path) -> None:
    assert linux(nvidia(tmp_path)) == (DRIVEN,)


@pytest.mark.parametrize("information", ["", "Model:", "nonsense"])
def test_a_card_whose_driver_says_nothing(tmp_path: Path, information: str) -> None:
    write(tmp_path, {"proc/driver/nvidia/gpus/x/information": information})
    assert linux(tmp_path) == (Gpu("nvidia", "NVIDIA GPU", driver="installed"),)


@pytest.mark.parametrize("kind", ["0x030000", "0x030200"])  # with a plug for a screen, and without
def test_an_nvidia_card_without_a_driver(tmp_path: Path, kind: str) -> None:
    assert linux(write(tmp_path, card("0x10de", kind=kind))) == (
        Gpu("nvidia", "NVIDIA GPU (0x744c)"),
    )


def test_a_card_of_a_virtual_machine_is_not_ours(tmp_path: Path) -> None:
    write(tmp_path, card("0x10de"))
    slot = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    (tmp_path / "vfio-pci").mkdir()
    (slot / "driver").symlink_to(tmp_path / "vfio-pci")
    assert linux(tmp_path) == ()


def test_the_kernel_s_short_list_is_believed(tmp_path: Path) -> None:
    """Only devices of vendors that it names are looked at."""
    write(tmp_path, card("0x10de") | {"proc/bus/pci/devices": "0000\t80860d57\t0\n"})
    assert linux(tmp_path) == ()
    write(tmp_path, {"proc/bus/pci/devices": "0000\t80860d57\t0\n0100\t10de2684\t10\n"})
    assert len(linux(tmp_path)) == 1


def test_amd_s_cards_count_and_its_processors_do_not(tmp_path: Path) -> None:
    inside = card("0x1002", "0000:05:00.0", mem_info_vram_total="536870912\n")
    without_driver = card("0x1002", "0000:06:00.0")
    beside = card("0x1002", "0000:03:00.0", mem_info_vram_total="25753026560\n")
    write(tmp_path, inside | without_driver | beside)
    assert linux(tmp_path) == (Gpu("amd", "AMD GPU (0x744c)", 25753026560, "amdgpu"),)
    name = {"sys/bus/pci/devices/0000:03:00.0/product_name": "Instinct MI300X\n"}
    (found,) = linux(write(tmp_path, name | {"opt/rocm/.info/version": "6.2.0-66\n"}))
    assert (found.name, found.runtime) == ("Instinct MI300X", "ROCm 6.2.0")


def test_the_gpu_of_windows_under_its_linux(tmp_path: Path) -> None:
    assert linux(write(tmp_path, {"dev/dxg": ""})) == ()
    write(tmp_path, {"usr/lib/wsl/lib/libcuda.so.1": ""})
    assert linux(tmp_path) == (Gpu("nvidia", "NVIDIA GPU", driver="WSL"),)


def test_windows(tmp_path: Path) -> None:
    assert present(tmp_path, "win32") == ()
    write(tmp_path, {"Windows/System32/nvcuda.dll": ""})
    assert [each.vendor for each in present(tmp_path, "win32")] == ["nvidia"]


def test_apple(tmp_path: Path) -> None:
    assert present(tmp_path, "darwin", "x86_64") == ()
    (found,) = present(tmp_path, "darwin", "arm64")
    assert (found.vendor, found.driver) == ("apple", "Metal")


def test_this_machine() -> None:
    """On the real files, whatever they are."""
    assert all(each.vendor in {"nvidia", "amd", "apple"} for each in present())


def test_nvidia_s_tool_knows_more(tmp_path: Path, programs: Path) -> None:
    rows = "NVIDIA GeForce RTX 4090, 24564 MiB, 550.54.14, 8.9\nNVIDIA GB10, [N/A], 580.1, 12.1\n"
    tool(programs, f"if [ \"$1\" ]; then printf '{rows}'; else printf '{TABLE}'; fi")
    write(nvidia(tmp_path), card("0x1002", "0000:03:00.0", mem_info_vram_total="25753026560"))
    first, second, amd = detailed(tmp_path, "linux")
    assert first == DRIVEN._replace(memory=24564 << 20, compute="8.9", runtime="CUDA 12.4")
    assert second == Gpu("nvidia", "NVIDIA GB10", None, "580.1", "12.1", "CUDA 12.4")
    assert amd.vendor == "amd"


def test_it_is_found_where_windows_puts_it_for_linux(tmp_path: Path, programs: Path) -> None:
    write(tmp_path, {"dev/dxg": "", "usr/lib/wsl/lib/libcuda.so": ""})
    tool(tmp_path / "usr/lib/wsl/lib", "echo 'NVIDIA RTX A2000, 4096 MiB, 552.22, 8.6'")
    assert [each.name for each in detailed(tmp_path, "linux")] == ["NVIDIA RTX A2000"]
    assert not list(programs.iterdir())


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        "echo 'NVIDIA GeForce RTX 4090, 24564 MiB, 550.54.14, 8.9'; exit 9",
        "echo 'Failed to initialize NVML: Driver/library version mismatch'",
        "printf '\\377\\000,,,\\n, , ,'",
        "kill -9 $$",
        ":",
        None,
    ],
)
def test_a_tool_that_fails_or_is_not_there_is_done_without(
    tmp_path: Path, programs: Path, body: str | None
) -> None:
    if body is not None:
        tool(programs, body)
    assert detailed(nvidia(tmp_path), "linux") == (DRIVEN,)


def test_a_tool_that_hangs_is_left(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia_smi, "_PATIENCE", 0.1)
    tool(programs, "exec /bin/sleep 60")
    assert detailed(nvidia(tmp_path), "linux") == (DRIVEN,)


def test_without_a_gpu_no_tool_is_asked(tmp_path: Path, programs: Path) -> None:
    tool(programs, f"echo > {tmp_path}/asked")
    assert detailed(tmp_path, "linux") == ()
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("overview", "expected"),
    [
        (TABLE, "CUDA 12.4"),
        ("| NVIDIA-SMI 595.1   KMD Version: 595.1   CUDA UMD Version: 13.2 |", "CUDA 13.2"),
        ("CUDA Version : 11.8", "CUDA 11.8"),
        ("CUDA Version: N/A", None),
        ("", None),
    ],
)
def test_the_cuda_that_a_driver_runs(overview: str, expected: str | None) -> None:
    assert nvidia_smi._cuda(overview) == expected


NVIDIA, AMD, APPLE = Gpu("nvidia", "x"), Gpu("amd", "x"), Gpu("apple", "x")
ROCM = Gpu("amd", "x", runtime="ROCm 6.2.0")


@pytest.mark.parametrize(
    ("gpu", "setting"),
    [(NVIDIA, "CUDA"), (ROCM, "HIP"), (AMD, "VULKAN"), (APPLE, "METAL")],
)
def test_the_command_that_builds_for_a_gpu(tmp_path: Path, gpu: Gpu, setting: str) -> None:
    assert install_command(gpu, "0.3.36", python="/o/python", pip=True, root=tmp_path) == (
        f'CMAKE_ARGS="-DGGML_{setting}=on" /o/python -m pip install --force-reinstall'
        " --no-cache-dir --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36"
    )


def test_the_command_for_an_environment_that_uv_made(tmp_path: Path) -> None:
    assert install_command(
        NVIDIA, "0.3.36+cu124", python="/o/python", pip=False, root=tmp_path
    ) == (
        'CMAKE_ARGS="-DGGML_CUDA=on" uv pip install --python /o/python --no-cache'
        " --reinstall-package llama-cpp-python --no-deps --no-binary llama-cpp-python"
        " llama-cpp-python==0.3.36"
    )


def test_the_command_for_powershell(tmp_path: Path) -> None:
    python = r"C:\Users\O'Neill\python.exe"
    assert install_command(
        NVIDIA, "0.3.36", python=python, pip=True, root=tmp_path, system="win32"
    ) == (
        "$env:CMAKE_ARGS=\"-DGGML_CUDA=on\"; & 'C:\\Users\\O''Neill\\python.exe' -m pip install"
        " --force-reinstall --no-cache-dir --no-deps --no-binary llama-cpp-python"
        " 'llama-cpp-python==0.3.36'"
    )


def test_a_compiler_that_is_not_on_path_is_named(tmp_path: Path, programs: Path) -> None:
    """CMake would not find it."""
    tool(programs, ":", "c++")
    assert missing_tools(NVIDIA, tmp_path, "linux") == "the CUDA toolkit (nvcc)"
    nvcc = tmp_path / "usr/local/cuda/bin/nvcc"
    write(tmp_path, {"usr/local/cuda/bin/nvcc": ""})
    assert missing_tools(NVIDIA, tmp_path, "linux") is None
    assert f' CUDACXX="{nvcc}" ' in install_command(NVIDIA, "0.3.36", root=tmp_path)
    assert "CUDACXX" not in install_command(ROCM, "0.3.36", root=tmp_path)
    tool(programs, ":", "nvcc")
    assert "CUDACXX" not in install_command(NVIDIA, "0.3.36", root=tmp_path)


@pytest.mark.parametrize(
    ("gpu", "system", "expected"),
    [
        (NVIDIA, "linux", "the CUDA toolkit (nvcc) and a C++ compiler (g++)"),
        (NVIDIA, "win32", "the CUDA toolkit (nvcc)"),
        (ROCM, "linux", "the HIP compiler of ROCm (hipcc) and a C++ compiler (g++)"),
        (AMD, "linux", "the Vulkan SDK (glslc) and a C++ compiler (g++)"),
        (APPLE, "darwin", "Apple's compiler (xcode-select --install)"),
    ],
)
def test_what_a_build_lacks(
    tmp_path: Path, programs: Path, gpu: Gpu, system: str, expected: str
) -> None:
    assert not list(programs.iterdir())
    assert missing_tools(gpu, tmp_path, system) == expected


def test_a_shell_takes_the_command_apart_as_it_was_meant(tmp_path: Path) -> None:
    """With a path that has spaces, to a program that shows what it was given."""
    python = tmp_path / "my python"
    python.symlink_to(sys.executable)
    command = install_command(APPLE, "0.3.36", python=str(python), pip=True, root=tmp_path)
    words = shlex.split(command)
    assert words[0] == "CMAKE_ARGS=-DGGML_METAL=on"
    assert words[1] == str(python)
    show = "import os, sys; print(os.environ['CMAKE_ARGS'], *sys.argv[1:])"
    shown = command.replace("-m pip", f"-c {shlex.quote(show)}")
    done = subprocess.run(
        ["/bin/sh", "-c", shown], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split()[:3] == ["-DGGML_METAL=on", "install", "--force-reinstall"]


def test_pip_knows_the_options() -> None:
    """Those of the command are all there; nothing is installed."""
    pytest.importorskip("pip")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ("--force-reinstall", "--no-cache-dir", "--no-deps", "--no-binary"):
        assert option in done.stdout
