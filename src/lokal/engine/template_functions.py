"""The functions that chat templates are given by name, as in `transformers`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import sync_do_map
from jinja2.runtime import Context
from jinja2.utils import Namespace

from lokal.engine import template_costs as costs
from lokal.engine.template_meter import NotAllowedError, meter_of


class RaisedError(Exception):
    """What a template's call of `raise_exception` becomes."""


def raise_exception(message: Any) -> NoReturn:
    raise RaisedError(message)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def strftime_now(format: str) -> str:  # noqa: A002 - as in transformers
    from datetime import datetime

    return datetime.now().strftime(format)


@pass_context
def add_up(context: Context, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    """Jinja's own `sum`, with each step paid for."""
    if attribute is not None:
        value = sync_do_map(context, value, attribute=attribute)
    items = list(value)
    meter_of(context).spend(costs.adding(items, start))
    return sum(items, start)


class PublicNamespace(Namespace):
    """A namespace without names that could pass for Python's own."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a variable may be called `self`
        self, *rest = args
        variables = dict(*rest, **kwargs)
        for name in variables:
            _check_public(name)
        Namespace.__init__(self, variables)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"{name!r} is no name for a variable")


def not_allowed(name: str) -> Callable[..., NoReturn]:
    """What stands for a function of Jinja's that no template needs."""

    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotAllowedError(repr(name))

    refuse.__name__ = name
    return refuse
