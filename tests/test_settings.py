"""Settings: directories, environment, config.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from lokal import settings
from lokal.errors import UsageError


def load(tmp_path: Path, **environ: str) -> settings.Settings:
    here = {
        "LOKAL_CONFIG_DIR": str(tmp_path / "config"),
        "LOKAL_STATE_DIR": str(tmp_path / "state"),
    }
    return settings.load({**here, **environ})


def test_directories_come_from_the_environment(tmp_path: Path) -> None:
    """The overlay lies in the configuration directory."""
    found = load(tmp_path)
    assert found.config_dir == tmp_path / "config"
    assert found.state_dir == tmp_path / "state"
    assert found.overlay_path == tmp_path / "config" / "models.toml"


def test_directories_default_to_the_platform_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as none; a tilde is the home directory."""
    monkeypatch.setenv("HOME", "/somewhere")
    found = settings.load({"LOKAL_CONFIG_DIR": "", "LOKAL_STATE_DIR": "~/state"})
    assert found.config_dir.name == "lokal"
    assert found.config_dir.is_absolute()
    assert found.state_dir == Path("/somewhere/state")


@pytest.mark.parametrize("name", ["LOKAL_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "offline"),
    [("1", True), ("on", True), ("Yes", True), (" TRUE ", True), ("0", False), ("", False)],
)
def test_offline(tmp_path: Path, name: str, value: str, offline: bool) -> None:
    """Our own switch and the Hub library's, in its spellings."""
    assert load(tmp_path, **{name: value}).offline is offline


def test_one_switch_is_enough(tmp_path: Path) -> None:
    """Switching one of them off does not undo the other."""
    assert load(tmp_path, LOKAL_OFFLINE="1", HF_HUB_OFFLINE="0").offline
    assert load(tmp_path, LOKAL_OFFLINE="0", HF_HUB_OFFLINE="1").offline


def test_options_are_config_toml_as_it_stands(tmp_path: Path) -> None:
    """For every command, and for one."""
    config = tmp_path / "config" / "config.toml"
    assert load(tmp_path).options == {}
    config.parent.mkdir()
    config.write_text('temp = 0.5\n[run]\nsystem = "é"\n', encoding="utf-8")
    assert load(tmp_path).options == {"temp": 0.5, "run": {"system": "é"}}


@pytest.mark.parametrize("content", [b"temp = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_broken_config_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """The message says which file, the hint what to do."""
    config = tmp_path / "config" / "config.toml"
    config.parent.mkdir()
    config.write_bytes(content)
    with pytest.raises(UsageError, match=r"config\.toml"):
        load(tmp_path)


def test_a_config_toml_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A directory in its place is no reason to ignore it."""
    (tmp_path / "config" / "config.toml").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"config\.toml"):
        load(tmp_path)


def test_a_file_in_the_place_of_the_directory_holds_no_options(tmp_path: Path) -> None:
    """There is nothing to read there."""
    (tmp_path / "config").write_text("")
    assert load(tmp_path).options == {}


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read when asked, not at import."""
    monkeypatch.setenv("LOKAL_STATE_DIR", "/elsewhere")
    assert settings.load().state_dir == Path("/elsewhere")
