"""What is installed, and whether these versions go together."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from lokal import __version__
from lokal.doctor.finding import Finding, ok, warning

_SHOWN = ("llama-cpp-python", "huggingface_hub")
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*\])?\s*([^;]*)")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")  # what our own pyproject.toml uses


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
    found = versions()
    yield ok("versions", ", ".join(_said(found)))
    for requirement in _own() if required is None else required:
        name, bounds = _parse(requirement)
        version = _installed(name)
        if version is None or not _lies_within(version, bounds):
            range_ = ",".join(f"{sign}{bound}" for sign, bound in bounds)
            yield warning(
                "versions",
                f"{name} is {version or 'missing'}, this lokal is made for {range_}",
                f"pip install '{name}{range_}'",
            )


def _said(found: Mapping[str, str]) -> Iterator[str]:
    for name, version in found.items():
        yield version if name == "platform" else f"{name} {version}"


def _own() -> list[str]:
    try:
        every = metadata.requires("lokal") or []
    except metadata.PackageNotFoundError:
        return []
    return [text for text in every if "extra ==" not in text]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _parse(requirement: str) -> tuple[str, list[tuple[str, str]]]:
    match = _REQUIREMENT.match(requirement)
    name, rest = match.groups() if match else (requirement, "")
    return name, sorted(_BOUND.findall(rest), reverse=True)


def _lies_within(version: str, bounds: Sequence[tuple[str, str]]) -> bool:
    have = _numbers(version)
    return all(
        have >= _numbers(bound) if sign == ">=" else have < _numbers(bound)
        for sign, bound in bounds
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 0.3.36+cu124 is (0, 3, 36)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
