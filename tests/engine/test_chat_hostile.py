"""Hostile chat templates: refused soon, whatever they try.

A template comes with the weights, so anybody may have written it.
"""

from __future__ import annotations

import time

import pytest
from hostile_templates import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

from lokal.engine.chat import Message, render
from lokal.errors import LoadError, RefusedError

SECONDS = 2.0
ASK: Message = {"role": "user", "content": "Hi"}
LONG: Message = {"role": "user", "content": ("ab <b> c's, " * 8 + "\n") * 10_000}


def refusal(template: str, message: Message) -> str | None:
    """Why a template is refused, which happens in time; None if it renders."""
    start = time.thread_time()
    try:
        render(template, [message], bos_token="", eos_token="")
    except (LoadError, RefusedError) as error:
        return error.message
    finally:
        assert time.thread_time() - start < SECONDS
    return None


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("message", [ASK, LONG], ids=["short", "long"])
def test_a_hostile_template_is_refused_in_time(template: str, message: Message) -> None:
    """Whether it would take forever, or fill the memory, or is no template at all."""
    assert refusal(template, message)


VALUES = st.sampled_from(
    [
        *("'a'", "'%s'", "'{0}'", "' '", "7", "99999999", "-2", "0.5", "none", "nothing"),
        *("[]", "[1]", "(1, 2)", "{'a': 1}", "range(99999)"),
        *("x", "ns", "ns.x", "loop", "messages", "messages[0].content"),
    ]
)
UNARY = [
    *("-{0}", "not {0}", "[{0}, {0}]", "({0}, {0})", "{{'a': {0}, 'b': {0}}}", "{{{0}: 1}}"),
    *("{0}[1:]", "{0}[0]", "{0}.x", "{0} | length", "{0} | list", "{0} | tojson", "{0} | string"),
    *(
        "{0} | upper",
        "{0} | join",
        "{0} | sort",
        "{0} | unique | list",
        "{0} | map('upper') | list",
    ),
    *("{0} | sum", "{0} | batch(2) | list", "{0} | round", "{0} | wordcount", "cycler({0})"),
    *("{0}.copy()", "joiner({0})", "dict({0})", "{0} | e", "[{0} | map('e')]", "{0}.keys()"),
    *("{0} | items | list", "{0}.split()", "{0}.title()", "{0}.splitlines()", "namespace(x={0})"),
    *(
        "{0} | int(base=16)",
        "{0} is lower",
        "{0} | max",
        "{0} | reverse | list",
        "m({0})",
        "dict(a={0})",
    ),
]
BINARY = [
    *("{0} + {1}", "{0} ~ {1}", "{0} * {1}", "{0} % {1}", "{0} ** {1}", "{0} // {1}", "{0} - {1}"),
    *("{0} in {1}", "{0} == {1}", "{0} < {1}", "{0}[{1}]", "{0} | join({1})", "{0} | indent({1})"),
    *("{0} | replace('a', {1})", "{0}.join({1})", "{0}.replace('', {1})", "{0}.center({1})"),
    *(
        "{0}.format({1})",
        "{0} | format({1})",
        "{0}.strip({1})",
        "{0}.rfind({1})",
        "{0}.rsplit({1})",
    ),
    *(
        "{0} | sum(start={1})",
        "{0} | slice({1}) | list",
        "{0} | round({1})",
        "{0} | map(attribute={1}) | list",
        "{0} | sort(attribute={1})",
        "{0} | tojson(indent={1})",
        "{0} | default({1})",
        "{0} is in({1})",
        "{0}.get({1})",
        "{0}.index({1})",
    ),
]
EXPRESSIONS = st.recursive(
    VALUES,
    lambda inner: (
        st.builds(lambda form, *values: f"({form.format(*values)})", st.sampled_from(UNARY), inner)
        | st.builds(
            lambda form, *values: f"({form.format(*values)})", st.sampled_from(BINARY), inner, inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    expressions=st.lists(EXPRESSIONS, min_size=1, max_size=4),
    message=st.sampled_from([ASK, LONG]),
    n_turns=st.sampled_from([1, 3, 40, 99999]),
)
def test_anything_ends_in_time(expressions: list[str], message: Message, n_turns: int) -> None:
    """Each expression works on what the one before it made, over and over."""
    steps = "".join(f"{{% set x = {e} %}}{{% set ns.x = x %}}" for e in expressions)
    template = (
        "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(x='ab') %}"
        "{% set x = 2 %}"
        f"{{% for i in range({n_turns}) %}}{steps}{{% endfor %}}{{{{ ns.x }}}}"
    )
    refusal(template, message)


def test_ordinary_work_on_much_text_is_no_offence() -> None:
    """A message of a million characters, and five hundred messages."""
    template = (
        "{% macro show(text) %}{{ text | trim }}{% endmacro %}"
        "{% for m in messages %}{% set ns = namespace(text=m.content) %}"
        "{% if '</think>' in ns.text %}{% set ns.text = ns.text.split('</think>')[-1] %}{% endif %}"
        "{% set ns.text = ns.text.rstrip('\n').lstrip('\n').strip() %}"
        "{% for part in ns.text.split('\n') if part.startswith('#') %}{% endfor %}"
        "{{ '<' ~ m.role + '>' + ns.text + '\n' }}{{ show(ns.text) }}{{ m | tojson(indent=2) }}"
        "{{ '%s' | format(ns.text) }}{{ ns.text | replace('<b>', '**') | length }}"
        "{% if loop.last and messages[1:] | selectattr('role', 'eq', 'user') | list %}!{% endif %}"
        "{% endfor %}"
    )
    for messages in (
        [LONG],
        [ASK, LONG, LONG],
        [ASK] * 500,
        [{**ASK, "content": "a b\n" + "c " * 5000}] * 500,
    ):
        assert render(template, messages, bos_token="", eos_token="")


def test_errors_are_short() -> None:
    """A template's words are shown, not a book."""
    for template in ("{{ raise_exception('a' * 1000000) }}", "{{ messages['a' * 1000000].b }}"):
        assert len(refusal(template, ASK) or "") < 1000
