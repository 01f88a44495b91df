"""What is installed, and whether these versions go together."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from lokal import __version__
from lokal.doctor.finding import Finding, ok, warning
from lokal.hardware.gpu_build import best, install_hint, installer

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_BINDING = "llama-cpp-python"
_SHOWN = (_BINDING, "huggingface_hub")


def versions() -> dict[str, str]:
    """Versions by name; what is not installed is left out."""
    found = {"lokal": __version__, "python": platform.python_version()}
    found |= {name: version for name in _SHOWN if (version := _installed(name))}
    return {**found, "platform": platform.platform()}


def check_versions(required: Sequence[str] | None = None) -> Iterator[Finding]:
    """Compare what is installed with what this lokal was made for.

    `required` are requirements as in pyproject.toml, by default those of the installed lokal; a
    source tree that is not installed has none.
    """
    from packaging.requirements import Requirement

    found = versions()
    yield ok("versions", ", ".join(_said(found)))
    for requirement in map(Requirement, _own() if required is None else required):
        name, range_ = requirement.name, _range(requirement)
        if requirement.marker and not requirement.marker.evaluate():
            continue  # of another system, or of an extra
        have = _installed(name)
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            if have and name == _BINDING:
                hint = install_hint(best(), range_)
            else:
                hint = f"{installer()} '{name}{range_}'"
            text = f"{name} is {have or 'missing'}, this lokal is made for {range_}"
            yield warning("versions", text, hint)


def _range(requirement: Requirement) -> str:
    """Lower bounds first."""
    return ",".join(sorted(map(str, requirement.specifier), reverse=True))


def _said(found: Mapping[str, str]) -> Iterator[str]:
    for name, version in found.items():
        yield version if name == "platform" else f"{name} {version}"


def _own() -> list[str]:
    try:
        return metadata.requires("lokal") or []
    except metadata.PackageNotFoundError:
        return []


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
