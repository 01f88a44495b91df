"""The environment of chat templates: that of `transformers`, with a meter running.

It mirrors `transformers/utils/chat_template_utils.py`, for which templates are written: trimmed
blocks, loop controls, `tojson` that leaves HTML and unicode alone, `raise_exception`,
`strftime_now`, and the `generation` block. What can take long or make much is paid for first: each
turn of a loop, each call, and each operation whose operands may be large.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, NoReturn, cast

from jinja2 import Environment, Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace

from lokal.engine import template_costs as costs
from lokal.engine.template_meter import ITEM, Meter, TooMuchError

LONGEST = 100_000
"""Characters of a template; the longest known has 17,000."""
PARTS = 8_000
"""Nodes of its syntax tree, meters included; the largest known has 1,500."""
TURN = 64
"""Units for one turn of a loop, besides what stands in its body."""


class RaisedError(Exception):
    """What a template's call of `raise_exception` becomes."""


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text that a template makes of variables.

    Raises:
        RaisedError: by the template itself.
        TooMuchError: it takes too long, or makes too much.
        Exception: anything else that wrong code can raise.
    """
    compiled = _compile(template)
    context = cast(_MeteredContext, compiled.new_context(dict(variables)))
    context.meter = Meter(variables)
    return "".join(compiled.root_render_func(context))


@functools.lru_cache(maxsize=8)
def _compile(template: str) -> Template:
    if len(template) > LONGEST:
        raise TooMuchError(f"is longer than {LONGEST:,} characters")
    environment = _environment()
    tree = environment.parse(template)
    _put_meters(tree)
    if sum(1 for _ in tree.find_all(nodes.Node)) > PARTS:
        raise TooMuchError(f"has more than {PARTS:,} parts")
    return Template.from_code(environment, environment.compile(tree), environment.make_globals({}))


class _MeteredContext(Context):
    meter: Meter

    def derived(self, locals: dict[str, Any] | None = None) -> Context:  # noqa: A002 - Jinja's
        context = cast(_MeteredContext, super().derived(locals))
        context.meter = self.meter
        return context


class _MeteredEnvironment(ImmutableSandboxedEnvironment):
    context_class = _MeteredContext
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _meter(context).spend(costs.operation(operator, left, right))
        return self.binop_table[operator](left, right)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(function, _OF_TEMPLATES):
            cost: float = TURN + costs.PIECE * (len(args) + len(kwargs))
        else:
            if getattr(function, "__name__", "") == "join":
                args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
            cost = _price(function, args, {k: kwargs[k] for k in kwargs if k not in _HIDDEN})
        _meter(context).spend(cost)
        return super().call(context, function, *args, **kwargs)


_HIDDEN = ("_loop_vars", "_block_vars")  # Jinja's, for `context.call`
_OF_TEMPLATES = (Macro, BlockReference, LoopContext, Undefined)


def _meter(context: Context) -> Meter:
    return context.meter  # type: ignore[attr-defined, no-any-return]


def _price(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """The cost of a call; only functions that have one may be called."""
    if isinstance(function, _BOUND):
        owner, name = function.__self__, function.__name__
        for kind, table in _METHODS:
            if isinstance(owner, kind) and name in table:
                return table[name](owner, *args, **kwargs)
    elif isinstance(function, FunctionType) and hasattr(function, "__wrapped__"):
        pattern = function.__wrapped__.__self__  # Jinja's own str.format
        return costs.formatting(pattern, *args, *kwargs.values())
    elif function is _strftime_now:
        return costs.formatting(*args, **kwargs)
    elif function in _GLOBALS.values():
        return costs.reading(*args, **kwargs)
    name = getattr(function, "__name__", type(function).__name__)
    raise SecurityError(f"{name} is nothing that a chat template may call")


_BOUND = (BuiltinMethodType, MethodType)
_METHODS: tuple[tuple[Any, dict[str, costs.Cost]], ...] = (
    (str, costs.TEXT_METHODS),
    ((list, tuple), costs.LIST_METHODS),
    (Mapping, costs.MAPPING_METHODS),
    (LoopContext, costs.LOOP_METHODS),
)


# ------------------------------------------------------------------------- filters that only meter


@pass_context
def _turn(context: Context, value: Any, size: int) -> Any:
    _meter(context).spend(size)
    return value


@pass_context
def _read(context: Context, value: Any) -> Any:
    """Of a value that is written out, compared, or used as a key."""
    _meter(context).read(value)
    return value


@pass_context
def _searched(context: Context, value: Any) -> Any:
    """Of what stands to the right of `in`."""
    if isinstance(value, Iterator):
        value = list(value)
    if not isinstance(value, Mapping):
        _meter(context).read(value)
    return value


@pass_context
def _sliced(context: Context, value: Any) -> Any:
    _meter(context).spend(len(value) if isinstance(value, str) else costs.passing(value))
    return value


# No template can name them so.
_METERS = {"turn!": _turn, "read!": _read, "searched!": _searched, "sliced!": _sliced}


def _put_meters(tree: nodes.Template) -> None:
    """Have a parsed template pay for what Jinja's compiler makes of it without asking."""
    for node in list(tree.find_all(nodes.Node)):
        if isinstance(node, nodes.Output | nodes.Concat):
            node.nodes = [_metered(child) for child in node.nodes]
        elif isinstance(node, nodes.Compare):
            _put_meters_on_comparison(node)
        elif isinstance(node, nodes.Getitem):
            if isinstance(node.arg, nodes.Slice):
                node.node = _filter(node.node, "sliced!")
            else:
                node.arg = _metered(node.arg)
        elif isinstance(node, nodes.Pair):
            node.key = _metered(node.key)
        elif isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block):
            size = nodes.Const(TURN + _size(node.body))
            node.body.insert(0, nodes.ExprStmt(_filter(nodes.Const(None), "turn!", size)))
            if isinstance(node, nodes.For) and node.test:
                node.test = _filter(node.test, "turn!", nodes.Const(TURN + _size([node.test])))


def _put_meters_on_comparison(node: nodes.Compare) -> None:
    """What is compared with a constant takes no longer than the constant is long."""
    values = [node.expr, *(operand.expr for operand in node.ops)]
    is_plain = any(isinstance(value, nodes.Const) for value in values) and len(values) == 2
    for operand in node.ops:
        if operand.op in ("in", "notin"):
            operand.expr = _filter(operand.expr, "searched!")
        elif not is_plain:
            operand.expr = _metered(operand.expr)
    if not is_plain:
        node.expr = _metered(node.expr)


def _size(body: list[nodes.Node]) -> int:
    """What one pass through a body can make without asking: its texts, and an item for each node.

    Loops, macros and blocks in it ask for themselves.
    """
    size = 0
    for node in body:
        size += ITEM
        if isinstance(node, nodes.TemplateData):
            size += len(node.data)
        elif isinstance(node, nodes.Const) and isinstance(node.value, str):
            size += len(node.value)
        elif not isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block):
            size += _size(list(node.iter_child_nodes()))
    return size


def _metered(node: Any) -> nodes.Expr:
    constant = isinstance(node, nodes.Const | nodes.TemplateData)
    return node if constant else _filter(node, "read!")


def _filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


# --------------------------------------------------------------------------------- the environment


def _paid(
    function: Callable[..., Any], cost: costs.Cost, settles: bool = False
) -> Callable[..., Any]:
    """A filter or test that pays first; `settles` where it goes through an iterator to its end."""
    wants = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def paid(context: Context, value: Any = "", *args: Any, **kwargs: Any) -> Any:
        if settles and isinstance(value, Iterator):
            value = list(value)
        _meter(context).spend(cost(value, *args, **kwargs))
        if wants is None:
            return function(value, *args, **kwargs)
        given = {"context": context, "eval_context": context.eval_ctx}
        return function(given.get(wants.name, context.environment), value, *args, **kwargs)

    return paid


def _raise_exception(message: Any) -> NoReturn:
    raise RaisedError(message)


def _tojson(
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


def _strftime_now(pattern: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(pattern)


class _PublicNamespace(Namespace):
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


class _Generation(Extension):
    """`{% generation %}` marks the assistant's tokens for training; here it only groups."""

    tags = {"generation"}  # noqa: RUF012 - the shape that Jinja's base class declares

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


_SETTLED = {"join", "max", "min", "sort", "unique"}
_GLOBALS: dict[str, Any] = {
    "dict": dict,
    "namespace": _PublicNamespace,
    "range": safe_range,
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
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
    filters: dict[str, Any] = {**environment.filters, "tojson": _tojson}
    environment.filters = _METERS | {
        name: _paid(filters[name], cost, settles=name in _SETTLED)
        if cost is not costs.looking
        else filters[name]
        for name, cost in costs.FILTERS.items()
    }
    tests: dict[str, Any] = environment.tests
    environment.tests = {
        name: _paid(tests[name], cost) if cost is not costs.looking else tests[name]
        for name, cost in costs.TESTS.items()
    }
    return environment
