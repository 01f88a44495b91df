"""The named models: what models.toml says, and what a user lays over it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jinja2 import Environment
from pydantic import TypeAdapter

from lokal.catalog.entry import Entry
from lokal.catalog.quants import choose
from lokal.catalog.refs import NameRef, parse
from lokal.catalog.registry import Registry, models_toml
from lokal.errors import ModelNameError, UsageError
from lokal.settings import Settings


def load(tmp_path: Path, overlay: str | None = None) -> Registry:
    settings = Settings(config_dir=tmp_path, state_dir=tmp_path)
    if overlay is not None:
        settings.overlay_path.write_text(overlay, encoding="utf-8")
    return Registry.load(settings)


def resolve(registry: Registry, text: str) -> Entry:
    ref = parse(text)
    assert isinstance(ref, NameRef)
    return registry.resolve(ref)


# -- the built-in file


def test_every_entry_is_right_by_the_strict_schema(tmp_path: Path) -> None:
    """Entries are built unchecked from the built-in file: this test is the check."""
    built_in = tomllib.loads(models_toml().read_text(encoding="utf-8"))
    assert set(built_in) == {"license", "model"}
    checked = Registry(built_in["model"], built_in["license"], TypeAdapter(Entry).validate_python)
    assert list(checked.entries()) == list(load(tmp_path).entries())


def test_every_entry_is_complete_and_consistent(tmp_path: Path) -> None:
    for entry in load(tmp_path).entries():
        assert entry.architecture, entry.ref
        assert entry.context, entry.ref
        if entry.embedded:
            continue
        assert entry.parameters, entry.ref
        assert entry.size, entry.ref
        assert entry.parameters > (entry.active_parameters or 0)
        assert entry.origin.url, entry.ref
        assert entry.file, entry.ref
        assert "{quant}" in entry.file
        smallest, largest = entry.size_range or (entry.size, entry.size)
        assert smallest <= entry.size <= largest


def test_every_expected_file_name_would_be_picked_by_its_quant(tmp_path: Path) -> None:
    for entry in load(tmp_path).entries():
        if name := entry.filename():
            others = [entry.filename("Q3_K_S") or "", entry.filename("BF16") or ""]
            assert choose([*others, name], entry.quant).files == (name,)


def test_every_name_resolves_and_every_canonical_ref_to_its_own_entry(tmp_path: Path) -> None:
    registry = load(tmp_path)
    assert len(set(registry.names())) == len(registry.names())
    for name in registry.names():
        entry = resolve(registry, name)
        assert resolve(registry, entry.ref) == entry
    refs = [entry.ref for entry in registry.entries()]
    assert len(set(refs)) == len(refs)
    assert set(refs) <= set(registry.names())


def test_grok_2_is_not_called_open_source(tmp_path: Path) -> None:
    registry = load(tmp_path)
    assert not resolve(registry, "grok:2").license.open_source
    assert resolve(registry, "grok").license.open_source


def test_the_embedded_model_lies_in_the_package(tmp_path: Path) -> None:
    entry = resolve(load(tmp_path), "tiny")
    path = entry.embedded_path()
    assert path is not None
    assert path.parts[-3:] == ("lokal", "data", "tiny.gguf")
    assert entry.filename() is None


def test_the_mistral_v0_1_template_writes_the_old_instruction_format(tmp_path: Path) -> None:
    template = resolve(load(tmp_path), "mistral:7b-v0.1").template
    assert template
    turns = [("user", "U1"), ("assistant", "A1"), ("user", "U2")]
    rendered = (
        Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - no HTML
        .from_string(template)
        .render(
            messages=[{"role": role, "content": content} for role, content in turns],
            bos_token="<s>",  # noqa: S106 - no secret
            eos_token="</s>",  # noqa: S106
        )
    )
    assert rendered == "<s>[INST] U1 [/INST]A1</s>[INST] U2 [/INST]"


# -- names


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("mistral", "mistral"),
        ("MISTRAL", "mistral"),
        ("mistral:7b", "mistral"),
        ("mistral:7b-v0.3", "mistral"),
        ("mistral:7B-V0.2@Q8_0", "mistral:7b-v0.2"),
        ("mixtral:8x22b", "mixtral:8x22b"),
        ("grok-2", "grok:2"),
        ("grok:1", "grok"),
    ],
)
def test_a_name_means_one_entry(tmp_path: Path, text: str, ref: str) -> None:
    assert resolve(load(tmp_path), text).ref == ref


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("mistrel", "no model named 'mistrel'", "did you mean mistral"),
        ("mixtral-8x7b", "no model named", "mixtral:8x7b"),
        ("grok3", "no model named", "grok"),
        ("zzz", "no model named", "llm models"),
        ("mistral:8b", "mistral has no variant '8b'", "7b-v0.2"),
        ("tiny:1b", "tiny has no variant '1b'", "write tiny"),
    ],
)
def test_an_unknown_name_gets_help(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(ModelNameError, match=message) as caught:
        resolve(load(tmp_path), text)
    assert hint in caught.value.hint


# -- the user's overlay

MINE = """
[model.mine]
title = "Mine"
repo = "me/mine-GGUF"
file = "mine-{quant}.gguf"
license = "LicenseRef-Mine"
origin = { name = "me" }
confidence = "seen"

[license."LicenseRef-Mine"]
name = "Mine"
url = "https://example.com"
open_source = false
"""


def test_an_overlay_adds_a_model_with_its_licence(tmp_path: Path) -> None:
    registry = load(tmp_path, MINE)
    entry = resolve(registry, "mine@Q8_0")
    assert (entry.ref, entry.filename("Q8_0")) == ("mine", "mine-Q8_0.gguf")
    assert entry.license.id == "LicenseRef-Mine"
    assert [e.ref for e in registry.entries()][-1] == "mine"


def test_an_overlay_replaces_single_fields_and_keeps_the_rest(tmp_path: Path) -> None:
    before = resolve(load(tmp_path), "tiny")
    overlay = """
    [model.tiny.sampling]
    temperature = 0
    [model.mistral.variants.7b]
    quant = "Q8_0"
    [model.mistral.variants.7b-mine]
    title = "My Mistral"
    repo = "me/mistral-GGUF"
    file = "m-{quant}.gguf"
    origin = { name = "me" }
    """
    registry = load(tmp_path, overlay)
    tiny = resolve(registry, "tiny")
    assert (tiny.sampling.temperature, tiny.sampling.top_p) == (0, before.sampling.top_p)
    assert tiny.context == before.context
    assert resolve(registry, "mistral").filename() == "Mistral-7B-Instruct-v0.3-Q8_0.gguf"
    assert resolve(registry, "mistral:7b-mine").license.id == "Apache-2.0"
    assert resolve(registry, "mistral:7b-v0.2").quant == "Q4_K_M"


@pytest.mark.parametrize(
    ("overlay", "parts"),
    [
        ("[model.tiny\n", ["cannot read"]),
        ("[models.tiny]\n", ["models: unknown"]),
        ("model = 3\n", ["model: must be a table"]),
        ("[model]\ntiny = 3\n", ["model.tiny: must be a table"]),
        ("[model.tiny]\nvariants = 3\n", ["model.tiny.variants: must be a table"]),
        ("[model.mistral.variants]\n7b = 3\n", ["model.mistral.variants.7b: must be a table"]),
        ("[model.tiny]\ncolour = 1\n", ["model.tiny.colour", "nexpected"]),
        ("[model.tiny]\ncontext = 'big'\n", ["model.tiny.context", "integer"]),
        ("[model.tiny]\ncontext = 0\n", ["model.tiny", "context must be positive"]),
        ("[model.tiny]\nsampling = {top_p = 2}\n", ["model.tiny.sampling", "top_p"]),
        ("[model.tiny]\nsampling = {heat = 2}\n", ["model.tiny.sampling.heat"]),
        ("[model.tiny]\nlicense = 'GPL'\n", ["model.tiny.license", '[license."GPL"]']),
        ("[model.tiny]\nrepo = 'a/b'\n", ["model.tiny", "either repo and file, or embedded"]),
        ("[model.tiny]\ndefault = 'x'\n", ["model.tiny.default", "one of the variants"]),
        ("[model.mistral]\ndefault = 'x'\n", ["model.mistral.default", "one of the variants"]),
        ("[model.tiny]\naliases = ['Tiny One']\n", ["model.tiny", "Tiny One"]),
        ("[model.new]\ntitle = 'New'\n", ["model.new", "license"]),
        ("[model.Big]\ntitle = 'New'\nlicense = 'MIT'\n", ["model.Big"]),
        ("[model.mistral.variants.7b]\nsize = -1.5\n", ["model.mistral.variants.7b.size"]),
        ("[license.MIT]\nfree = true\n", ["license.MIT.free"]),
    ],
)
def test_a_wrong_overlay_names_file_and_field(
    tmp_path: Path, overlay: str, parts: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, overlay)
    assert str(tmp_path / "models.toml") in caught.value.message
    for part in parts:
        assert part in caught.value.message
    assert "\n" not in caught.value.message


def test_without_an_overlay_no_heavy_module_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lokal.settings import Settings;"
        "from lokal.catalog.registry import Registry; from lokal.catalog.refs import parse;"
        f"path = Path({str(tmp_path)!r});"
        "Registry.load(Settings(path, path)).resolve(parse('tiny'));"
        "print([m for m in ('pydantic', 'difflib', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
