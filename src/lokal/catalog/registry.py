"""The models that have a name: models.toml, and the user's own file laid over it."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lokal.catalog import sections
from lokal.catalog.entry import Entry, License, ReasoningMarks
from lokal.catalog.refs import NameRef
from lokal.catalog.sections import Overlaid, merge
from lokal.errors import ModelNameError, UsageError
from lokal.settings import Settings

__all__ = ["Entry", "Registry", "models_toml"]


class Registry:
    """Every named model; an entry is built when it is asked for, because a command needs one.

    `tables` are `model`, `license`, `reasoning` and `absent` as parsed, the user's laid over ours;
    they are known to be right.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._models = tables["model"]
        self._licenses = tables["license"]
        self._reasoning = tables["reasoning"]
        self._absent = tables["absent"]

    @classmethod
    def load(cls, settings: Settings) -> Registry:
        """Read models.toml and the user's overlay.

        Raises:
            UsageError: the overlay is no TOML, or a field in it is unknown, wrong or missing.
        """
        return cls.read(settings.overlay_path, settings.state_dir / "models.checked")

    @classmethod
    def read(cls, overlay_path: Path | None = None, memory: Path | None = None) -> Registry:
        """Read models.toml, and that overlay if it is there.

        Checking an overlay takes a tenth of a second; `memory` is a file that remembers which
        one was found to be right.

        Raises:
            UsageError: as for `load`.
        """
        built_in = sections.split(models_toml().read_text(encoding="utf-8"))
        overlay = None if overlay_path is None else _read_overlay(overlay_path)
        if overlay_path is None or overlay is None:
            return cls(built_in)
        registry = cls(
            {kind: Overlaid(named, overlay.get(kind, {})) for kind, named in built_in.items()}
        )
        seal = _seal(models_toml(), overlay_path)
        if memory is None or not _holds(memory, seal):
            registry._check(overlay, overlay_path)
            if memory:
                _write(memory, seal)
        return registry

    def resolve(self, ref: NameRef) -> Entry:
        """The entry that a name means; upper and lower case are the same.

        Raises:
            ModelNameError: no such model or variant; the hint says what comes close.
        """
        name, variant = ref.name.lower(), ref.variant and ref.variant.lower()
        full = f"{name}:{variant}" if variant else name
        if name in self._models and not variant:
            return self._entry(name, self._models[name].get("default"))
        if name in self._models and variant in self._variants(name):
            return self._entry(name, variant)
        for known, known_variant, table in self._tables():
            if full in table.get("aliases", ()):
                return self._entry(known, known_variant)
        if name in self._models:
            variants = ", ".join(known for known in self._variants(name) if known)
            hint = f"its variants: {variants}" if variants else f"it has none: write {name}"
            raise ModelNameError(f"{name} has no variant {variant!r}", hint=hint)
        if absent := self._absent.get(name):
            raise ModelNameError(absent["message"], hint=absent["hint"])
        import difflib

        close = difflib.get_close_matches(full, self.names(), n=3)
        raise ModelNameError(
            f"there is no model named {full!r}",
            hint=f"did you mean {' or '.join(close)}?" if close else "`llm models` lists the names",
        )

    def entries(self) -> Iterator[Entry]:
        """Every variant of every model, in the order of the files."""
        for name, variant, _ in self._tables():
            yield self._entry(name, variant)

    def names(self) -> list[str]:
        """Everything that `resolve` takes, for completion: plain names, variants, aliases."""
        names: dict[str, None] = dict.fromkeys(self._models)
        for name, variant, table in self._tables():
            if variant:
                names[f"{name}:{variant}"] = None
            names.update(dict.fromkeys(table.get("aliases", ())))
        return list(names)

    def license_id(self, text: str) -> str | None:
        """The id of a licence that is known here, as files spell it; None if it is not."""
        return next((known for known in self._licenses if known.lower() == text.lower()), None)

    def _variants(self, name: str) -> Mapping[str | None, Any]:
        return self._models[name].get("variants") or {None: {}}

    def _tables(self) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
        for name in self._models:
            for variant in self._variants(name):
                yield name, variant, self._table(name, variant)

    def _table(self, name: str, variant: str | None) -> dict[str, Any]:
        table = merge(self._models[name], self._variants(name)[variant])
        table.pop("variants", None)
        is_default = table.pop("default", None) == variant
        table["ref"] = name if is_default else f"{name}:{variant}"
        return table

    def _entry(self, name: str, variant: str | None) -> Entry:
        return Entry.from_table(self._complete(name, variant))

    def _complete(self, name: str, variant: str | None) -> dict[str, Any]:
        """All that an entry is made of, its licence and its way of reasoning included."""
        table = self._table(name, variant)
        license_id = table.get("license")
        if isinstance(license_id, str) and license_id in self._licenses:
            table["license"] = {"id": license_id, **self._licenses[license_id]}
        rule = table.get("reasoning")
        if isinstance(rule, str) and rule in self._reasoning:
            table["reasoning"] = self._reasoning[rule]
        return table

    def _check(self, overlay: Mapping[str, Any], path: Path) -> None:
        """Find mistakes in what the overlay touches; models.toml has none, as the tests check."""
        from pydantic import TypeAdapter, ValidationError  # 80 ms, see entry.py

        def attempt(where: str, kind: Any, make: Callable[..., Any], table: dict[str, Any]) -> None:
            try:
                checked = TypeAdapter(kind).validate_python(table)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join((where, *(str(step) for step in first["loc"])))
                raise _mistake(path, field, first["msg"]) from None
            # pydantic makes a truth of "yes" and a number of "7"; nobody else does.
            try:
                plain = make(table)
            except (TypeError, ValueError):
                plain = None
            if checked != plain:
                raise _mistake(path, where, "write numbers, true and false without quotes")

        for key in overlay.get("license", {}):
            table = {"id": key, **self._licenses[key]}
            attempt(f"license.{key}", License, lambda table: License(**table), table)
        for key in overlay.get("reasoning", {}):
            table, make = self._reasoning[key], ReasoningMarks.from_table
            attempt(f"reasoning.{key}", ReasoningMarks, make, table)
            if not make(table).whole:
                problem = "give either open and close, or channels"
                raise _mistake(path, f"reasoning.{key}", problem)
        for name in overlay.get("model", {}):
            variants = self._variants(name)
            if self._models[name].get("default") not in variants:
                raise _mistake(path, f"model.{name}.default", "must name one of the variants")
            for variant in variants:
                where = f"model.{name}.variants.{variant}" if variant else f"model.{name}"
                for field, known in (("license", self._licenses), ("reasoning", self._reasoning)):
                    named = self._table(name, variant).get(field)
                    if isinstance(named, str) and named not in known:
                        problem = f'describe it in a table [{field}."{named}"]'
                        raise _mistake(path, f"{where}.{field}", problem)
                    if named is not None and not isinstance(named, str):
                        problem = f"write the name of a table [{field}.NAME]"
                        raise _mistake(path, f"{where}.{field}", problem)
                attempt(where, Entry, Entry.from_table, self._complete(name, variant))


def models_toml() -> Path:
    """The built-in registry: beside the package in a wheel, at the root of a source checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "models.toml"
    return packaged if packaged.exists() else package.parents[1] / "models.toml"


def _read_overlay(path: Path) -> dict[str, Any] | None:
    """Parse the overlay and see that tables are where tables must be."""
    try:
        with path.open("rb") as file:
            overlay = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint="mend or remove that file") from None
    for key, tables in overlay.items():
        if key not in ("model", "license", "reasoning"):
            problem = "unknown; tables are [model.NAME], [license.ID] and [reasoning.NAME]"
            raise _mistake(path, key, problem)
        for field, table in _nested(key, tables):
            if not isinstance(table, dict):
                raise _mistake(path, field, "must be a table")
    return overlay


def _nested(key: str, tables: Any) -> Iterator[tuple[str, Any]]:
    """Everything below a top-level key that has to be a table, with its dotted name."""
    yield key, tables
    for name, table in tables.items():
        yield f"{key}.{name}", table
        if key == "model" and "variants" in table:
            yield f"{key}.{name}.variants", table["variants"]
            for variant, fields in table["variants"].items():
                yield f"{key}.{name}.variants.{variant}", fields


def _mistake(path: Path, field: str, problem: str) -> UsageError:
    return UsageError(f"{path}: {field}: {problem}", hint="mend or remove that field")


def _seal(*paths: Path) -> str:
    """What changes when one of the files does."""
    return " ".join(f"{stat.st_size} {stat.st_mtime_ns}" for stat in map(Path.stat, paths))


def _holds(memory: Path, seal: str) -> bool:
    try:
        return memory.read_text(encoding="utf-8") == seal
    except (OSError, UnicodeDecodeError):
        return False


def _write(memory: Path, seal: str) -> None:
    # Losing the memory costs time only, so a read-only home is no failure.
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(seal, encoding="utf-8")
