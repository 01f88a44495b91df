"""Who may import whom: the arrows of the architecture point down."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lokal

ROOT = Path(lokal.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# What each part may import of the others; a part is a package, or a module beside them. "" is
# lokal/__init__.py.
MAY_IMPORT = {
    "cli": {"model", "weights", "inventory", "settings", "errors", "checksum", ""}
    | {"loading", "batch", "result", "completion", "conversation", "dialogue", "side_by_side"}
    | {"requests", "planning", "preflight", "bench", "doctor"}
    | {"disposal", "verification", "offers", "addition"}
    | {"engine", "hub", "gguf", "hardware", "catalog"},
    "": {"model", "completion", "loading", "weights", "engine", "settings"},
    "batch": {"result", "model", "completion", "conversation", "engine", "settings", "errors"},
    "result": {"completion", "engine"},
    "bench": {"model", "loading", "weights", "engine", "errors"},
    "model": {"side_by_side", "completion", "requests", "opening", "loading", "weights"}
    | {"engine", "errors"},
    "opening": {"planning", "loading", "weights", "engine", "hardware", "errors"},
    "planning": {"loading", "weights", "engine", "hardware", "errors"},
    "requests": {"conversation", "weights", "engine", "errors"},
    "side_by_side": {"completion", "engine", "errors"},
    "completion": {"engine", "errors"},
    "conversation": {"engine", "errors"},
    "loading": {"weights", "engine", "hardware", "gguf", "checksum", "settings", "errors"},
    "dialogue": {"conversation", "engine", "errors"},
    "weights": {"engine", "hub", "gguf", "catalog", "checksum", "settings", "errors"}
    | {"preflight"},
    "preflight": {"engine", "hub", "gguf", "hardware", "catalog", "errors"},
    "inventory": {"weights", "hub", "gguf", "catalog", "settings", "errors"},
    "disposal": {"inventory", "weights", "hub", "catalog", "settings", "errors"},
    "verification": {"inventory", "weights", "checksum", "hub", "gguf", "settings", "errors"},
    "offers": {"inventory", "hardware", "catalog", "settings"},
    "addition": {"gguf", "catalog", "settings", "errors"},
    "check_registry": {"hub", "catalog"},
    "doctor": {"model", "loading", "weights", "inventory", "settings", "errors", ""}
    | {"engine", "hub", "gguf", "hardware", "catalog"},
    "hub": {"catalog", "settings", "errors", ""},
    "hardware": {"gguf", "errors"},
    "catalog": {"settings", "errors"},
    "gguf": {"errors"},
    "engine": {"errors"},
    "settings": {"errors"},
    "checksum": set(),
    "errors": set(),
}

# Who may import what is not ours and not in the standard library.
OWNERS = {
    "typer": "cli/",
    "rich": "cli/",
    "prompt_toolkit": "cli/keyboard.py",
    "huggingface_hub": "hub/",
    "httpx2": "hub/",
    "filelock": "hub/locks.py",
    "packaging": "doctor/versions.py",
    "pydantic": "catalog/registry.py",
    "platformdirs": "settings.py",
    "jinja2": "engine/template_",
    "llguidance": "engine/constraint.py",
    "numpy": ("engine/constraint.py", "engine/logprobs.py"),
}

# Who may touch the environment besides settings: OpenMP, llama.cpp, Rust and the Hub's library
# read variables of their own.
READERS = {
    "settings.py",
    "cli/main.py",
    "engine/constraint.py",
    "engine/llama.py",
    "hub/cache.py",
    "hub/client.py",
    "hub/listing.py",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    top = path.relative_to(ROOT).parts[0]
    return "" if top == "__init__.py" else top.removesuffix(".py")


def imported_part(full: str) -> str:
    """The part that `lokal.x.y` belongs to; what is no module stands in lokal/__init__.py."""
    top = full.split(".")[1]
    return top if top in MAY_IMPORT else ""


def test_every_part_has_its_place() -> None:
    """A new package gets a line here, and thought."""
    assert {part(path) for path in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_down(path: Path) -> None:
    """No part knows what stands above it, and the engine knows nothing but errors."""
    ours = {imported_part(full) for full in imports(path) if full.split(".")[0] == "lokal"}
    assert ours - {part(path)} <= MAY_IMPORT[part(path)]


def test_the_arrows_form_no_circle() -> None:
    """Parts can be sorted so that each imports only earlier ones; the version is no import."""
    left = {part: needs - {""} for part, needs in MAY_IMPORT.items()}
    while ready := {part for part, needs in left.items() if not needs}:
        left = {part: needs - ready for part, needs in left.items() if part not in ready}
    assert not left


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_other_people_s_packages_have_one_owner(path: Path) -> None:
    """Swapping a library means changing one place."""
    for full in imports(path):
        package = full.split(".")[0]
        if package != "lokal" and package not in sys.stdlib_module_names:
            assert name(path).startswith(OWNERS[package]), package


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_one_file_names_llama_cpp(path: Path) -> None:
    """It is loaded by name, so imports do not show it; prose may mention it."""
    strings = {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert ("llama_cpp" in strings) == (name(path) == "engine/llama.py")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_settings_read_the_environment(path: Path) -> None:
    """Every variable that means something to us is in one place."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    used |= {full.removeprefix("os.") for full in imports(path)}
    touches = not used.isdisjoint({"environ", "environb", "getenv", "putenv", "unsetenv"})
    assert touches == (name(path) in READERS)


def loaded_by(code: str) -> set[str]:
    """Names of the packages that a fresh Python has loaded after running a piece of code."""
    show = "import sys; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code", ["import lokal", "from lokal import errors, settings", "from lokal.hub import cache"]
)
def test_light_modules_load_nothing_heavy(code: str) -> None:
    """A start is a tenth of a second; nobody's imports may take that away."""
    new = loaded_by(code) - loaded_by("")
    assert new - set(sys.stdlib_module_names) <= {"lokal"}
    assert new.isdisjoint({"ctypes", "asyncio", "json", "logging", "subprocess"})


def test_a_loaded_model_has_not_loaded_the_rest(llama: Path) -> None:
    """Running a file needs neither the Hub's library nor pydantic nor numpy."""
    code = f"""
import lokal
with lokal.load({str(llama)!r}, ctx=64, threads=1) as model:
    model.generate("hello", max_tokens=1)
"""
    heavy = {
        "huggingface_hub",
        "httpx2",
        "pydantic",
        "numpy",
        "llguidance",
        "rich",
        "typer",
        "asyncio",
        "prompt_toolkit",
    }
    assert loaded_by(code).isdisjoint(heavy)


@pytest.mark.parametrize("arguments", [["run", "tiny", "hi", "-n", "1"], ["chat", "tiny"]])
def test_only_a_conversation_at_a_terminal_loads_the_line_editor(arguments: list[str]) -> None:
    """It takes as long as everything else together."""
    code = f"from lokal.cli.outcome import exit_code\nassert exit_code({arguments!r}) == 0"
    assert loaded_by(code).isdisjoint({"prompt_toolkit", "rich", "asyncio"})
