"""Builds llama.cpp's own tools from the sources that the installed llama-cpp-python contains.

    python benchmarks/build_reference.py DIRECTORY [--server] [--backend cuda] [--source UNPACKED]

Both sides of a comparison are then the same commit with the same flags: the package's CMake file
adds llama.cpp in Release mode, for this CPU (GGML_NATIVE), without curl, and changes nothing else
on Linux. CMAKE_ARGS is passed on here as it is there. Needs CMake and a C++ compiler.
The directory with llama-bench and llama-completion is printed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

PACKAGE = "llama-cpp-python"
_FLAGS = {
    "CMAKE_BUILD_TYPE": "Release",
    "LLAMA_CURL": "OFF",
    # What the tools do not need: HTTPS, the web page, tests, examples.
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where to build, outside the repository")
    parser.add_argument("--source", type=Path, help="an unpacked source package; else downloaded")
    parser.add_argument("--server", action="store_true", help="build llama-server as well")
    parser.add_argument("--backend", choices=("cuda", "hip", "vulkan"), help="build for GPUs")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="compilers at once")
    options = parser.parse_args()
    source = options.source or _download(options.directory)
    targets = ["llama-bench", "llama-completion"]
    if options.server:
        targets += ["llama-server", "llama-batched-bench"]
    flags = dict(_FLAGS)
    if options.backend:
        flags[f"GGML_{options.backend.upper()}"] = "ON"
    folder = build(source, options.directory, targets, options.jobs, flags)
    sys.stdout.write(f"{folder}\n")


def build(
    source: Path, directory: Path, targets: list[str], jobs: int, settings: dict[str, str]
) -> Path:
    """Build the targets and return the folder that holds them."""
    build_directory = directory / "build"
    flags = [f"-D{name}={value}" for name, value in settings.items()]
    flags += shlex.split(os.environ.get("CMAKE_ARGS", ""))
    if shutil.which("ninja"):
        flags += ["-G", "Ninja"]
    llama_cpp = source / "vendor" / "llama.cpp"
    _run(["cmake", "-S", str(llama_cpp), "-B", str(build_directory), *flags])
    _run(["cmake", "--build", str(build_directory), "-j", str(jobs), "--target", *targets])
    return build_directory / "bin"


def _download(directory: Path) -> Path:
    """The source package of the installed version, unpacked."""
    package = f"{PACKAGE}=={version(PACKAGE)}"
    source = directory / package.replace("-", "_").replace("==", "-")
    if not source.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps"]
        _run([*command, "--no-binary", PACKAGE, "--dest", str(directory), package])
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(directory, filter="data")
    return source


def _run(command: list[str]) -> None:
    # The compiler's output is not ours: it goes where progress goes.
    subprocess.run(command, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
