"""Directories, environment and config.toml; no other module reads the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lokal.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """What the surroundings say, read once per process.

    `options` is config.toml as parsed: option names (`temp = 0.5`) for every command that has them,
    and one table per command (`[run]`) for that command alone.
    """

    config_dir: Path
    state_dir: Path
    offline: bool = False
    no_color: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def overlay_path(self) -> Path:
        """The user's own registry, laid over the built-in models.toml."""
        return self.config_dir / "models.toml"


def load(
    environ: Mapping[str, str] | None = None, *, offline: bool = False, config: bool = True
) -> Settings:
    """Read the environment and config.toml; `offline` forbids the network whatever they say.

    Without `config` there are no options: config.toml may be what is wrong.

    LOKAL_CONFIG_DIR and LOKAL_STATE_DIR replace the platform's directories. LOKAL_OFFLINE and the
    Hub library's own HF_HUB_OFFLINE forbid the network. NO_COLOR (https://no-color.org) forbids
    escape codes.

    Raises:
        UsageError: config.toml is not readable TOML.
    """
    env = os.environ if environ is None else environ
    config_dir, state_dir = env.get("LOKAL_CONFIG_DIR"), env.get("LOKAL_STATE_DIR")
    if not (config_dir and state_dir):
        from platformdirs import PlatformDirs

        dirs = PlatformDirs("lokal", appauthor=False)
        config_dir = config_dir or dirs.user_config_dir
        state_dir = state_dir or dirs.user_state_dir
    directory = expand(config_dir)
    return Settings(
        config_dir=directory,
        state_dir=expand(state_dir),
        offline=offline or any(_is_on(env.get(n)) for n in ("LOKAL_OFFLINE", "HF_HUB_OFFLINE")),
        no_color=bool(env.get("NO_COLOR")),
        options=_read(directory / "config.toml") if config else {},
    )


def variables(*names: str) -> dict[str, str]:
    """Those of other programs' variables that are set, to say where something comes from."""
    return {name: os.environ[name] for name in names if name in os.environ}


def expand(path: str) -> Path:
    """A path as the user wrote it, with ~ and ~NAME resolved; an unknown NAME stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's own raises RuntimeError


def _is_on(value: str | None) -> bool:
    # The spellings that huggingface_hub takes for HF_HUB_OFFLINE.
    return (value or "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint="mend or remove that file") from None
