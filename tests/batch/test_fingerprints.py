"""A refusal names what is different from the run before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lokal.batch import fingerprints
from lokal.batch.earlier import Earlier
from lokal.batch.fingerprints import Fingerprints, Made
from lokal.errors import UsageError

OLD = {"temperature": 0.8, "stop": [], "system": "Be brief. " * 9, "schema": None, "ctx": 4096}


def made(fingerprint: str = "00aa", **others: Any) -> Made:
    return Made("tiny", "sha256:00", fingerprint, OLD | others)


def refusal(store: Fingerprints, earlier: Earlier, now: Made) -> str:
    with pytest.raises(UsageError) as refused:
        store.check("out.jsonl", earlier, now)
    assert "--restart" in refused.value.hint
    return refused.value.message


EARLIER = Earlier(3, 0, "tiny", "sha256:00", "00aa")


def test_the_same_settings_and_a_new_file_are_fine(tmp_path: Path) -> None:
    store = Fingerprints(tmp_path)
    store.check("out.jsonl", EARLIER, made())
    store.check("out.jsonl", Earlier(), made())


def test_differences_are_named(tmp_path: Path) -> None:
    store = Fingerprints(tmp_path)
    store.remember(made())
    now = made("00bb", temperature=0.0, stop=["\n"], system="Be long. " * 9, schema={"a": 1})
    assert refusal(store, EARLIER, now) == (
        "out.jsonl was made with other settings: temperature 0.8, now 0.0; "
        'stop none, now ["\\n"]; system changed; schema none, now {"a": 1}'
    )


def test_settings_that_nobody_remembers_are_other_settings(tmp_path: Path) -> None:
    store = Fingerprints(tmp_path)
    what = "out.jsonl was made with other settings"
    assert refusal(store, EARLIER, made("00bb")) == what
    store.remember(made())
    next((tmp_path / "fingerprints").iterdir()).write_text("[broken")
    assert refusal(store, EARLIER, made("00bb")) == what


def test_another_model_is_named(tmp_path: Path) -> None:
    store = Fingerprints(tmp_path)
    now = made()._replace(model="mistral", weights="sha256:11")
    assert (
        refusal(store, EARLIER, now) == "out.jsonl was made with another model: tiny, now mistral"
    )
    now = made()._replace(weights="sha256:11")
    assert refusal(store, EARLIER, now).endswith("made with other weights of tiny")


def test_a_fingerprint_never_becomes_a_path_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"temperature": 1}')
    store = Fingerprints(tmp_path)
    assert store.difference("../secret", OLD) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions")
def test_settings_are_nobody_else_s_to_read(tmp_path: Path) -> None:
    Fingerprints(tmp_path / "state").remember(made())
    folder = tmp_path / "state" / "fingerprints"
    (path,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_only_so_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "KEPT", 5)
    store = Fingerprints(tmp_path)
    for number in range(9):
        store.remember(made(f"{number:016x}", ctx=number))
    assert len(list((tmp_path / "fingerprints").iterdir())) == 5
    assert store.difference(f"{8:016x}", made().settings) == ["ctx 8, now 4096"]


def test_a_place_that_cannot_be_written_costs_only_the_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Fingerprints(tmp_path / "file").remember(made())
