"""What is installed really works: from a wheel, editable, and from a source checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command import Llm

ROOT = Path(__file__).parents[1]
MOST_BYTES = 4_000_000  # of the embedded model: a package, not a download
START = """
import site, sys
site.addsitedir(sys.argv.pop(1))
import lokal
print(lokal.__file__, file=sys.stderr)
from lokal.cli.main import main
main()
"""


def build(target: str, folder: Path) -> zipfile.ZipFile:
    """Build with the project's own backend, without network or isolation."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build("wheel:editable", tmp_path_factory.mktemp("editable"))


def models(llm: Llm, site: Path, path: str) -> Path:
    """Run `llm models` with `site` as site-packages; returns where the package was found."""
    env = llm.environ({"PYTHONPATH": path})
    done = subprocess.run(
        [sys.executable, "-c", START, str(site), "models"],
        cwd=llm.home,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\nmistral " in done.stdout
    return Path(done.stderr.strip())


def test_from_a_wheel(tmp_path: Path, wheel: zipfile.ZipFile) -> None:
    """An unpacked wheel finds its models.toml and its model."""
    site = tmp_path / "site-packages"
    wheel.extractall(site)
    assert models(Llm(tmp_path), site, str(site)) == site / "lokal" / "__init__.py"


def test_from_an_editable_install(tmp_path: Path, editable: zipfile.ZipFile) -> None:
    """An editable wheel leads to the checkout, and nothing in it is in the way."""
    site = tmp_path / "site-packages"
    editable.extractall(site)
    found = models(Llm(tmp_path), site, "")
    assert found == ROOT / "src" / "lokal" / "__init__.py"


def test_from_a_checkout(tmp_path: Path) -> None:
    """`PYTHONPATH=src` is enough."""
    (tmp_path / "empty").mkdir()
    found = models(Llm(tmp_path), tmp_path / "empty", str(ROOT / "src"))
    assert found == ROOT / "src" / "lokal" / "__init__.py"


def test_what_a_wheel_holds(wheel: zipfile.ZipFile) -> None:
    """The package, the registry, the model, the licence; no tests, and nothing beside it."""
    files = {item.filename: item.file_size for item in wheel.infolist()}
    assert {"lokal/models.toml", "lokal/py.typed", "lokal/data/tiny.gguf"} <= set(files)
    assert 0 < files["lokal/data/tiny.gguf"] <= MOST_BYTES
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in files)
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lokal"}
    parts = {part for name in files for part in name.split("/")}
    assert not [part for part in parts if part.startswith("test") or part == "__pycache__"]


def test_the_embedded_model_of_a_wheel_answers(tmp_path: Path, wheel: zipfile.ZipFile) -> None:
    """`llm run tiny` from the wheel alone."""
    site = tmp_path / "site-packages"
    wheel.extractall(site)
    llm = Llm(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", START, str(site), "run", "tiny", "hello", "-n", "3", "-q"],
        cwd=tmp_path,
        env=llm.environ({"PYTHONPATH": str(site)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
