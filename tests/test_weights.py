"""Weights: what a name comes to, and whose word counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ggufs
import pytest

from lokal import gguf, settings
from lokal.catalog.entry import Entry, License, Origin, Sampling
from lokal.engine.request import SamplingParams
from lokal.errors import DamagedFileError, ModelNameError, OfflineError, UsageError
from lokal.settings import Settings
from lokal.weights import Weights, find, local_path, obtain


@pytest.fixture
def surroundings(tmp_path: Path) -> Settings:
    return Settings(config_dir=tmp_path, state_dir=tmp_path, offline=True)


def weights(path: Path, **fields: Any) -> Weights:
    terms = License(id="MIT", name="MIT", url="", open_source=True)
    entry = Entry(
        ref="x",
        title="X",
        license=terms,
        origin=Origin(name="we"),
        confidence="seen",
        embedded="x.gguf",
        **fields,
    )
    return Weights("x", path, gguf.check(path), entry if fields else None)


def test_a_path_is_that_file(llama: Path, surroundings: Settings) -> None:
    """No registry, no cache, no network."""
    found = obtain(find(str(llama), surroundings), surroundings)
    assert (found.path, found.entry, found.name) == (llama, None, str(llama))
    assert found.template == ggufs.TEMPLATE
    assert local_path(find(str(llama), surroundings), surroundings) == llama


def test_a_path_with_a_tilde(
    llama: Path, surroundings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Config files are not expanded by a shell."""
    monkeypatch.setenv("HOME", str(llama.parent))
    assert find(f"~/{llama.name}", surroundings).path == llama


def test_a_name_is_an_entry_of_the_registry(surroundings: Settings) -> None:
    """With a quantization, it is part of the name."""
    plain, picky = find("mistral", surroundings), find("mistral@Q5_K_M", surroundings)
    assert plain.entry == picky.entry == plain.remote
    assert plain.entry
    assert (plain.name, plain.selector) == (plain.entry.ref, None)
    assert (picky.name, picky.selector) == (f"{plain.entry.ref}@Q5_K_M", "Q5_K_M")
    assert local_path(plain, surroundings) is None


def test_a_repository_is_itself(surroundings: Settings) -> None:
    """The registry has no say in it."""
    found = find("hf.co/owner/repo:Q8_0", surroundings)
    assert (found.remote, found.selector, found.entry) == ("owner/repo", "Q8_0", None)


def test_an_embedded_model_is_here_already(surroundings: Settings) -> None:
    """It is a file of the package."""
    found = find("tiny", surroundings)
    assert found.path
    assert found.path.name == "tiny.gguf"
    assert local_path(found, surroundings) == found.path


def test_an_embedded_model_has_one_quantization(surroundings: Settings) -> None:
    """Which may be named, whatever its case; another is an error that says so."""
    assert find("tiny@q8_0", surroundings).path == find("tiny", surroundings).path
    with pytest.raises(ModelNameError, match="comes as Q8_0 only"):
        find("tiny@Q4_K_M", surroundings)


def test_what_is_not_here_is_not_fetched_offline(surroundings: Settings) -> None:
    """Exit code 5, and no request."""
    with pytest.raises(OfflineError):
        obtain(find("mistral", surroundings), surroundings)


def test_unknown_names_and_bad_files(tmp_path: Path, surroundings: Settings) -> None:
    """Each has its own error."""
    with pytest.raises(ModelNameError):
        obtain(find("mistrall", surroundings), surroundings)
    with pytest.raises(ModelNameError):
        obtain(find(str(tmp_path / "absent.gguf"), surroundings), surroundings)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(DamagedFileError):
        obtain(find(str(tmp_path / "x.gguf"), surroundings), surroundings)
    (tmp_path / "models.toml").write_text("nonsense")
    with pytest.raises(UsageError):
        obtain(find("mistral", surroundings), surroundings)


def test_the_cache_answers_without_the_network(
    llama: Path, surroundings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository's file in the shared cache is used where it lies."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--owner--repo"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c" * 40)
    link = folder / "snapshots" / ("c" * 40) / "x-Q4_K_M.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(llama)
    found = obtain(find("hf.co/owner/repo:Q4_K_M", surroundings), surroundings)
    assert (found.path, found.entry) == (link, None)


def test_the_registry_has_the_first_word_on_the_template(llama: Path) -> None:
    """Then the file; a base model has none, whatever its file says."""
    assert weights(llama).template == ggufs.TEMPLATE
    assert weights(llama, notes="").template == ggufs.TEMPLATE
    assert weights(llama, template="x").template == "x"
    assert weights(llama, base=True).template is None
    assert weights(llama, base=True, template="x").template is None


def test_the_registry_caps_the_context(llama: Path) -> None:
    """A file may declare more than the model was good for, and never less."""
    assert weights(llama).context_limit == 4096
    assert weights(llama, context=1000).context_limit == 1000
    assert weights(llama, context=100_000).context_limit == 4096


@pytest.mark.parametrize(
    ("recommended", "expected"),
    [
        ({}, SamplingParams()),
        ({"temp": 0.25, "top_k": 5}, SamplingParams(temperature=0.25, top_k=5)),
        ({"temp": -1.0}, SamplingParams()),
        ({"temp": float("nan")}, SamplingParams()),
        ({"temp": 1e30, "top_p": 0.5}, SamplingParams()),
        ({"top_p": 1.5}, SamplingParams()),
        ({"penalty_repeat": 0.0}, SamplingParams()),
        ({"top_k": "forty"}, SamplingParams()),
        ({"top_k": 3.7}, SamplingParams(top_k=3)),
    ],
)
def test_the_file_s_sampling_counts_if_it_can(
    tmp_path: Path, recommended: dict[str, Any], expected: SamplingParams
) -> None:
    """What is out of range is not the user's fault, and no reason to fail."""
    metadata = {f"general.sampling.{key}": value for key, value in recommended.items()}
    path = ggufs.write(tmp_path / "x.gguf", metadata=metadata)
    assert weights(path).sampling == expected


def test_the_registry_s_sampling_counts_even_then(tmp_path: Path) -> None:
    """It was checked by people."""
    path = ggufs.write(tmp_path / "x.gguf", metadata={"general.sampling.top_p": 9.0})
    recommended = weights(path, sampling=Sampling(temperature=0.1)).sampling
    assert recommended == SamplingParams(temperature=0.1)


def test_the_checksum_is_the_file_s(llama: Path) -> None:
    """Of the first file, for a split model."""
    assert len(weights(llama).sha256(settings.load())) == 64
