"""The syntax tree of a chat template, with meters put in.

Jinja's compiler makes code of some nodes that asks nobody: each turn of a loop, texts put together,
comparisons, keys. A filter on the operands, which returns them as they are, pays for that first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.runtime import Context

from lokal.engine import template_costs as costs
from lokal.engine.template_meter import ITEM, NotAllowedError, meter_of

TURN = 64
"""Units for one turn of a loop, besides what stands in its body."""


@pass_context
def _turn(context: Context, value: Any, size: int) -> Any:
    meter_of(context).spend(size)
    return value


@pass_context
def _read(context: Context, value: Any) -> Any:
    """Of a value that is written out, compared, or used as an index."""
    meter_of(context).read(value)
    return value


@pass_context
def _keyed(context: Context, value: Any) -> Any:
    """Of a key of a new mapping."""
    meter_of(context).spend(costs.keying((value,)))
    return value


@pass_context
def _searched(context: Context, value: Any) -> Any:
    """Of what stands to the right of `in`."""
    if isinstance(value, Iterator):
        value = list(value)
    if not isinstance(value, Mapping):
        meter_of(context).spend(costs.searching(value))
    return value


@pass_context
def _sliced(context: Context, value: Any) -> Any:
    meter_of(context).spend(len(value) if isinstance(value, str) else costs.passing(value))
    return value


METERS = {
    "turn!": _turn,
    "read!": _read,
    "keyed!": _keyed,
    "searched!": _searched,
    "sliced!": _sliced,
}
"""The filters, under names that no template can call them by."""

_BODIES = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)


def put_meters(tree: nodes.Template) -> None:
    """Have a parsed template pay for what Jinja's compiler makes of it without asking.

    Raises:
        NotAllowedError: it switches escaping on, which makes texts longer wherever they meet.
    """
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
            node.key = node.key if _is_text(node.key) else _filter(node.key, "keyed!")
        elif isinstance(node, nodes.ScopedEvalContextModifier):
            raise NotAllowedError("'autoescape'")
        elif isinstance(node, _BODIES):
            defaults = node.defaults if isinstance(node, nodes.Macro | nodes.CallBlock) else []
            size = nodes.Const(TURN + _size([*node.body, *defaults]))
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


def _size(parts: Iterable[nodes.Node]) -> int:
    """What one pass through these can make without asking: their texts, and an item for each node.

    The bodies of loops, macros and blocks among them ask for themselves.
    """
    size = 0
    for node in parts:
        size += ITEM
        if isinstance(node, nodes.TemplateData):
            size += len(node.data)
        elif isinstance(node, nodes.Const) and isinstance(node.value, str):
            size += len(node.value)
        else:
            own = ("body", "defaults") if isinstance(node, _BODIES) else ()
            size += _size(node.iter_child_nodes(exclude=own))
    return size


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _metered(node: Any) -> nodes.Expr:
    constant = isinstance(node, nodes.Const | nodes.TemplateData)
    return node if constant else _filter(node, "read!")


def _filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)
