"""The user's own registry, written by `llm models add`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lokal.catalog.overlay import add
from lokal.catalog.refs import NameRef
from lokal.catalog.registry import Registry
from lokal.errors import UsageError

FIELDS = {
    "title": 'The "house" model \\ é',
    "repo": "me/house-GGUF",
    "file": "house-{quant}.gguf",
    "license": "MIT",
    "origin.name": "me",
    "confidence": "seen",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "models.toml"


def title(path: Path, name: str) -> str:
    return Registry.read(path).resolve(NameRef(name)).title


def test_the_file_is_made_and_read_back(path: Path) -> None:
    add(path, "house", FIELDS)
    assert title(path, "house") == FIELDS["title"]
    assert [*path.parent.iterdir()] == [path]


def test_what_is_there_stays_as_it_is(path: Path) -> None:
    mine = "# mine\n[model.tiny.sampling]  # hot\ntemperature = 2.0\n"
    path.parent.mkdir()
    path.write_text(mine)
    add(path, "house", FIELDS)
    add(path, "other.1", FIELDS)
    assert path.read_text().startswith(mine + "\n[model.")
    assert Registry.read(path).resolve(NameRef("tiny")).sampling.temperature == 2
    assert title(path, "other.1") == title(path, "house") == FIELDS["title"]


def test_force_replaces_a_model_with_all_its_tables(path: Path) -> None:
    add(path, "house", FIELDS)
    with path.open("a") as file:
        file.write("[model.house.sampling]\ntop_k = 7\n\n# after\n[model.tiny]\ncontext = 9\n")
    with pytest.raises(UsageError, match="house exists already") as caught:
        add(path, "house", FIELDS)
    assert "--force" in caught.value.hint
    add(path, "house", {**FIELDS, "title": "New"}, force=True)
    house = Registry.read(path).resolve(NameRef("house"))
    assert (house.title, house.sampling.top_k) == ("New", None)
    assert Registry.read(path).resolve(NameRef("tiny")).context == 9


def test_a_layout_that_is_not_ours_is_left_to_its_owner(path: Path) -> None:
    """Where the tables cannot be told apart line by line, nothing is written."""
    path.parent.mkdir()
    path.write_text(
        '[model]\nhouse = { title = "H", repo = "a/b", file = "c", license = "MIT",'
        ' origin = { name = "me" }, confidence = "seen" }\n'
    )
    before = path.read_text()
    with pytest.raises(UsageError, match="cannot find all of house") as caught:
        add(path, "house", FIELDS, force=True)
    assert "by hand" in caught.value.hint
    assert path.read_text() == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["mistral", "tiny", "grok-2"])
def test_built_in_names_are_taken(path: Path, name: str, force: bool) -> None:
    with pytest.raises(UsageError, match=f"{name} is a built-in model"):
        add(path, name, FIELDS, force=force)
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "House", "a:b", "a/b", '"', "-x", "a b", "é"])
def test_a_name_has_the_form_of_a_name(path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a model"):
        add(path, name, FIELDS)


def test_what_the_registry_refuses_is_not_written(path: Path) -> None:
    with pytest.raises(UsageError, match="license") as caught:
        add(path, "house", {**FIELDS, "license": "GPL"})
    assert str(path) in caught.value.message
    assert not path.exists()
    assert [*path.parent.iterdir()] == []


def test_a_linked_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    path.parent.mkdir()
    path.symlink_to(real)
    add(path, "house", FIELDS)
    assert path.is_symlink()
    assert title(real, "house") == FIELDS["title"]
