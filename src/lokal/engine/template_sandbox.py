"""The environment of chat templates: that of `transformers`, with a meter running.

It mirrors `transformers/utils/chat_template_utils.py`, for which templates are written: trimmed
blocks, loop controls, `tojson` that leaves HTML and unicode alone, `raise_exception`,
`strftime_now`, and the `generation` block. What can take long or make much is paid for first: each
turn of a loop, each call, and each operation whose operands may be large.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, cast

from jinja2 import Environment, Template, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Cycler, Joiner

from lokal.engine import template_costs as costs
from lokal.engine import template_prices as prices
from lokal.engine.template_functions import (
    PublicNamespace,
    add_up,
    not_allowed,
    raise_exception,
    strftime_now,
    tojson,
)
from lokal.engine.template_meter import (
    Meter,
    MeteredContext,
    NotAllowedError,
    TooMuchError,
    meter_of,
)
from lokal.engine.template_tree import METERS, TURN, put_meters

LONGEST = 100_000
"""Characters of a template; the longest known has 17,000."""
PARTS = 8_000
"""Nodes of its syntax tree, meters included; the largest known has 1,500."""


class SourceError(Exception):
    """The template's code is wrong, or may not be, whatever it is given; caused by what it is."""


def render(template: str, variables: Mapping[str, Any], meter: Meter) -> str:
    """The text that a template makes of variables.

    Raises:
        RaisedError: by the template itself.
        SourceError: its code is wrong.
        TooMuchError: it takes too long, or makes too much.
        NotAllowedError: it uses what no template needs.
        Exception: anything else that wrong code can raise.
    """
    compiled = _compile(template)
    if isinstance(compiled, Exception):
        raise SourceError from compiled.with_traceback(None)
    meter.fill()
    context = cast(MeteredContext, compiled.new_context(dict(variables)))
    context.meter = meter
    return "".join(compiled.root_render_func(context))


@functools.lru_cache(maxsize=8)
def _compile(template: str) -> Template | Exception:
    """A template, or why it is none: wrong code can take as long to read, so it is read once."""
    if len(template) > LONGEST:
        return TooMuchError(f"is longer than {LONGEST:,} characters")
    environment = _environment()
    try:
        tree = environment.parse(template)
        put_meters(tree)
        if sum(1 for _ in tree.find_all(nodes.Node)) > PARTS:
            return TooMuchError(f"has more than {PARTS:,} parts")
        code = environment.compile(tree)
        return Template.from_code(environment, code, environment.make_globals({}))
    except Exception as error:
        return error


class _MeteredEnvironment(ImmutableSandboxedEnvironment):
    context_class = MeteredContext
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)
    intercepted_unops = frozenset(ImmutableSandboxedEnvironment.default_unop_table)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter_of(context).spend(costs.operation(operator, left, right))
        return self.binop_table[operator](left, right)

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        meter_of(context).spend(costs.negation(arg))
        return self.unop_table[operator](arg)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(function, _OF_TEMPLATES) or not callable(function):
            cost: float = TURN + costs.PIECE * (len(args) + len(kwargs))
        else:
            if getattr(function, "__name__", "") == "join":
                args = _settled(args)
            elif args and function in _GATHERING:
                args = _gathered(function, _settled(args), meter_of(context))
            cost = _price(function, args, {k: kwargs[k] for k in kwargs if k not in _HIDDEN})
        meter_of(context).spend(cost)
        return super().call(context, function, *args, **kwargs)


_HIDDEN = ("_loop_vars", "_block_vars")  # Jinja's, for `context.call`
_OF_TEMPLATES = (Macro, BlockReference, LoopContext, Undefined, Joiner)


def _price(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """The cost of a call; only functions that have one may be called."""
    if isinstance(function, _BOUND):
        owner, name = function.__self__, function.__name__
        for kind, table in _METHODS:
            if isinstance(owner, kind) and name in table:
                return costs.escaping(owner) * table[name](owner, *args, **kwargs)
    elif isinstance(function, FunctionType) and hasattr(function, "__wrapped__"):
        pattern = function.__wrapped__.__self__  # Jinja's own str.format
        return costs.formatting(pattern, *args, *kwargs.values())
    if function in _PRICES:
        return costs.PIECE + _PRICES[function](*args, **kwargs)
    name = getattr(function, "__name__", type(function).__name__)
    raise NotAllowedError(repr(name))


_BOUND = (BuiltinMethodType, MethodType)
_METHODS: tuple[tuple[Any, dict[str, prices.Cost]], ...] = (
    (str, prices.TEXT_METHODS),
    ((list, tuple), prices.LIST_METHODS),
    (Mapping, prices.MAPPING_METHODS),
    (LoopContext, prices.LOOP_METHODS),
    (Cycler, prices.CYCLER_METHODS),
)


def _settled(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values of which the iterators are lists, so that going through them to pay uses none up."""
    return tuple(list(value) if isinstance(value, Iterator) else value for value in values)


def _gathered(function: Any, args: tuple[Any, ...], meter: Meter) -> tuple[Any, ...]:
    """What a mapping is made from, its keys paid for."""
    items, *rest = args
    if isinstance(items, Mapping) or not isinstance(items, Collection):
        return args
    meter.read(items)
    if function == dict.fromkeys:
        meter.spend(costs.keying(items))
        return args
    pairs = [tuple(pair) for pair in items]
    meter.spend(costs.keying(key for key, *_ in pairs))
    return (pairs, *rest)


def _paid(name: str, function: Callable[..., Any], cost: prices.Cost) -> Callable[..., Any]:
    """A filter or test that pays first."""
    wants = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def paid(context: Context, value: Any = "", *args: Any, **kwargs: Any) -> Any:
        meter = meter_of(context)
        if name in _SETTLED and isinstance(value, Iterator):
            value = list(value)
        elif name == "in":
            args = _settled(args)
        price = cost(value, *args, **kwargs)
        meter.spend(price)
        if name in _PASSING and isinstance(value, Iterator):
            value = _paid_each(value, meter, price)
        if wants is None:
            return function(value, *args, **kwargs)
        given = {"context": context, "eval_context": context.eval_ctx}
        return function(given.get(wants.name, context.environment), value, *args, **kwargs)

    return paid


_SETTLED = {"join", "max", "min", "slice", "sort", "unique"}
_PASSING = {
    "batch",
    "list",
    "map",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sum",
}


def _paid_each(items: Iterator[Any], meter: Meter, price: float) -> Iterator[Any]:
    """Items that nobody can count before they come; the price is that of one."""
    for item in items:
        meter.spend(price)
        yield item


class _Generation(Extension):
    """`{% generation %}` marks the assistant's tokens for training; here it only groups."""

    tags = {"generation"}  # noqa: RUF012 - the shape that Jinja's base class declares

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


_GATHERING = frozenset({dict, dict.fromkeys, PublicNamespace})
_PRICES: dict[Any, prices.Cost] = {
    **dict.fromkeys(_GATHERING, costs.reading),
    safe_range: costs.reading,
    raise_exception: costs.reading,
    strftime_now: lambda *args, **kwargs: costs.formatting(*args, *kwargs.values()),
    Joiner: costs.reading,
    Cycler: lambda *items: costs.passing(items),
}
_GLOBALS: dict[str, Any] = {
    "cycler": Cycler,
    "dict": dict,
    "joiner": Joiner,
    "lipsum": not_allowed("lipsum"),
    "namespace": PublicNamespace,
    "range": safe_range,
    "raise_exception": raise_exception,
    "strftime_now": strftime_now,
}


@functools.cache
def _environment() -> Environment:
    environment = _MeteredEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, _Generation],
        optimized=False,
    )
    environment.globals = _GLOBALS
    filters: dict[str, Any] = {**environment.filters, "tojson": tojson, "sum": add_up}
    environment.filters = METERS | _priced(filters, prices.FILTERS)
    environment.tests = _priced(environment.tests, prices.TESTS)
    return environment


def _priced(functions: Mapping[str, Any], table: Mapping[str, prices.Cost]) -> dict[str, Any]:
    """Filters or tests that pay first; those that have no price are not allowed."""
    priced: dict[str, Any] = {}
    for name, function in functions.items():
        if name not in table:
            priced[name] = not_allowed(name)
        elif table[name] is costs.looking:
            priced[name] = function
        else:
            priced[name] = _paid(name, function, table[name])
    return priced
