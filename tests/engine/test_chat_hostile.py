"""Hostile chat templates: refused soon, whatever they try, and nothing of this machine is touched.

A template comes with the weights, so anybody may have written it.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lokal.engine.chat import Message, render
from lokal.errors import LoadError, RefusedError

SECONDS = 2.0
ASK: Message = {"role": "user", "content": "Hi"}
LONG: Message = {"role": "user", "content": ("ab <b> c's, " * 8 + "\n") * 10_000}


def repeated(start: str, step: str, times: int, then: str) -> str:
    """A template that makes a value of itself many times over, and uses it."""
    return (
        f"{{% set ns = namespace(x={start}) %}}{{% for i in range({times}) %}}"
        f"{{% set ns.x = {step} %}}{{% endfor %}}{then}"
    )


def doubled(start: str, step: str, then: str) -> str:
    """The same, of a step that makes it twice as large."""
    return repeated(start, step, 64, then)


def nested(n: int, inner: str) -> str:
    """Loops in loops."""
    opening = "".join(f"{{% for i{level} in range(100000) %}}" for level in range(n))
    return opening + inner + "{% endfor %}" * n


BIG = "{% set big = 'ab' * 3000000 %}"  # as large as a value may be, nearly
HUGE = "9" * 9

HOSTILE = {
    # loops
    "loops in loops": nested(3, ""),
    "a loop over loops that skip all": nested(
        2, "{% for x in range(100000) if x < 0 %}{% endfor %}"
    ),
    "a filtered loop with a long condition": "{% for x in range(100000) if "
    + " and ".join(["x >= 0"] * 4000)
    + " %}{% endfor %}" * 1,
    "loops that write": nested(2, "x"),
    "loops that write what is long": "{% for i in range(100000) %}" + "x" * 50_000 + "{% endfor %}",
    "loops that write a constant": "{% for i in range(100000) %}{{ '"
    + "x" * 50_000
    + "' }}{% endfor %}",
    "recursive macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(90) }}",
    "macros in a circle": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}"
    "{% endmacro %}{{ a() }}",
    "a recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "recursive loops of a bounded depth": "{% for x in [1, 2] recursive %}"
    "{% if loop.depth < 90 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
    "blocks in blocks": "{% block b0 %}x{% endblock %}"
    + "".join(
        f"{{% block b{n + 1} %}}{{{{ self.b{n}() }}}}{{{{ self.b{n}() }}}}{{% endblock %}}"
        for n in range(40)
    ),
    "callers": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 30
    + "x"
    + "{% endcall %}" * 30,
    "a generation block in a loop": nested(2, "{% generation %}x{% endgeneration %}"),
    # exponential values
    "x + x": doubled("'a'", "ns.x + ns.x", ""),
    "x ~ x": doubled("'a'", "ns.x ~ ns.x", ""),
    "x * 2": doubled("'a'", "ns.x * 2", ""),
    "2 * x": doubled("'a'", "2 * ns.x", ""),
    "lists + lists": doubled("[1]", "ns.x + ns.x", ""),
    "lists * 2": doubled("[1]", "ns.x * 2", ""),
    "nested lists, printed": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x }}"),
    "nested lists, to JSON": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson }}"),
    "nested lists, joined": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | join }}"),
    "nested lists, concatenated": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x ~ '' }}"),
    "nested lists, as text": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | string | length }}"),
    "nested lists, formatted": doubled(
        "[1]", "[ns.x, ns.x]", "{{ '%s' % ns.x }}{{ '{}'.format(ns.x) }}"
    ),
    "nested lists, filled in": doubled("[1]", "[ns.x, ns.x]", "{{ '%s' | format(ns.x) }}"),
    "nested lists, compared": doubled("[1]", "[ns.x, ns.x]", "{% set ns.y = ns.x %}")
    + doubled("[1]", "[ns.x, ns.x]", "{{ ns.x == ns.x[:] }}"),
    "nested lists, sought": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x in [ns.x[:], 1] }}"),
    "nested lists, sorted": doubled("[1]", "[ns.x, ns.x]", "{{ [ns.x, ns.x[:]] | sort | length }}"),
    "nested lists, tested": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x is eq(ns.x[:]) }}"),
    "nested lists, refused": doubled("[1]", "[ns.x, ns.x]", "{{ raise_exception(ns.x) }}"),
    "nested lists, called": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x() }}"),
    "nested tuples as keys": doubled("(1,)", "(ns.x, ns.x)", "{{ {ns.x: 1} }}"),
    "nested tuples as indices": doubled("(1,)", "(ns.x, ns.x)", "{{ messages[0][ns.x] }}"),
    "nested tuples asked for": doubled("(1,)", "(ns.x, ns.x)", "{{ messages[0].get(ns.x) }}"),
    "nested tuples, unique": doubled(
        "(1,)", "(ns.x, ns.x)", "{{ [ns.x] | unique | list | length }}"
    ),
    "nested mappings": doubled("{}", "{'a': ns.x, 'b': ns.x}", "{{ ns.x | tojson }}"),
    "nested namespaces": doubled("1", "namespace(a=ns.x, b=ns.x)", "{{ ns.x }}"),
    "a namespace that holds itself": "{% set ns = namespace() %}{% set ns.x = [ns, ns] %}{{ ns }}",
    "deep lists": repeated("1", "[ns.x]", 99_999, "{{ ns.x }}"),
    "deep tuples as keys": repeated("1", "(ns.x,)", 99_999, "{{ {ns.x: 1} }}"),
    "deep tuples, unique": repeated("1", "(ns.x,)", 99_999, "{{ [ns.x] | unique | list }}"),
    "doubling in a block": doubled("'a'", "ns.x", "")
    + "{% set x = 'ab' %}"
    + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "slices": BIG + repeated("[]", "ns.x + [big[1:]]", 99_999, ""),
    "many slices": BIG + "{{ [" + "big[1:]," * 5000 + "] | length }}",
    "arguments, unpacked and kept": "{% set ns = namespace(x=[]) %}"
    "{% macro m() %}{% set ns.x = [ns.x, varargs] %}{% endmacro %}"
    "{% set many = range(100000) | list %}{% for i in many %}{{ m(*many) }}{% endfor %}",
    "blocks, kept": "{% block b %}"
    + "x" * 50_000
    + "{% endblock %}"
    + repeated("[]", "[ns.x, self.b()]", 99_999, ""),
    "attributes of itself": "{% set ns = namespace() %}{% set ns.a = ns %}"
    "{{ ([ns] * 100000) | sort(attribute='" + "a." * 20_000 + "a') }}",
    "attributes of itself, handed on": "{% set ns = namespace() %}{% set ns.a = ns %}"
    "{{ range(100000) | map('d', ns) | map(attribute='" + "a." * 20_000 + "a') | list }}",
    # numbers
    "a power": "{{ 2 ** (10 ** 10) }}",
    "a power of a float": "{% for i in range(100000) %}{{ 2 ** 100000 % 3 }}{% endfor %}",
    "repeated squaring": doubled("3", "ns.x * ns.x", "{{ ns.x % 7 }}"),
    "digits": "{{ 9 ** (9 ** 9) }}",
    "a long number": "{{ 0x"
    + "f" * 90_000
    + " // 0x"
    + "e" * 40_000
    + " }}"
    + "{{ 0xff ** 0xff ** 2 }}",
    "a number that text spells": BIG
    + "{{ ('f' * 6000000) | int(base=16) % 7 }}"
    + "{% set n = ('f' * 1000000) | int(base=16) %}{{ n * n % 7 }}",
    "divisibility": "{% set n = ('f' * 4000000) | int(base=16) %}"
    "{% set m = ('f' * 1000000) | int(base=16) %}{{ n is divisibleby(m) }}",
    "rounding": f"{{{{ 1 | round({HUGE}) }}}}",
    # widths
    "%": f"{{{{ '%{HUGE}d' % 1 }}}}",
    "% with the width a value": f"{{{{ '%*d' % ({HUGE}, 1) }}}}",
    "% with a precision": f"{{{{ '%.{HUGE}f' % 1 }}}}",
    "% with Arabic digits": "{{ '{:٩٩٩٩٩٩٩٩٩}'.format(1) }}",
    "% often": BIG + "{{ ('%s' * 1000) % ((big,) * 1000) }}",
    "a pattern of numbers": BIG + "{{ ('1 ' * 4000000) % () }}",
    "the format filter": f"{{{{ '%{HUGE}d' | format(1) }}}}",
    "str.format": f"{{{{ '{{:{HUGE}}}'.format(1) }}}}",
    "str.format with the width a value": f"{{{{ '{{:{{}}}}'.format(1, {HUGE}) }}}}",
    "str.format with the width an item": f"{{{{ '{{0:{{1[0]}}}}'.format(1, [{HUGE}]) }}}}",
    "str.format with one value often": BIG + "{{ ('{0}' * 1000).format(big) }}",
    "str.format_map": BIG + "{{ ('{a}' * 1000).format_map({'a': big}) }}",
    "str.center": f"{{{{ 'a'.center({HUGE}) }}}}",
    "str.ljust": f"{{{{ 'a'.ljust({HUGE}) }}}}",
    "str.zfill": f"{{{{ 'a'.zfill({HUGE}) }}}}",
    "str.expandtabs": f"{{{{ '\\t'.expandtabs({HUGE}) }}}}",
    "str.replace": BIG + "{{ big.replace('a', big) }}",
    "str.replace of nothing": BIG + "{{ big.replace('', big) }}",
    "str.join": BIG + "{{ big.join(big) }}",
    "str.join of a range": BIG + "{{ big.join(range(10000) | map('string')) }}",
    "str.join of one value often": BIG
    + "{{ ''.join(([{'a': big}] * 100000) | map(attribute='a')) }}",
    "|join of one value often": BIG + "{{ ([{'a': big}] * 100000) | map(attribute='a') | join }}",
    "str.translate": "{{ ('a' * 100000).translate({97: 'b' * 100000}) }}",
    "int.to_bytes": f"{{{{ (1).to_bytes({HUGE}, 'big') }}}}",
    "|center": f"{{{{ 'a' | center({HUGE}) }}}}",
    "|indent": f"{{{{ 'a\\nb' | indent({HUGE}) }}}}",
    "|indent with a text": BIG + "{{ ('\\n' * 1000) | indent(big) }}",
    "|replace": BIG + "{{ big | replace('a', big) }}",
    "|replace in a list": BIG + "{{ [big] | replace('a', big) }}",
    "|join": BIG + "{{ range(100000) | join(big) }}",
    "|batch": f"{{{{ [1] | batch({HUGE}, 1) | list }}}}",
    "|slice": f"{{{{ [1] | slice({HUGE}) | list }}}}",
    "|title": BIG + "{{ ('a ' * 4000000) | title | length }}",
    "|indent of lines": BIG + "{{ ('a\\n' * 4000000) | indent(1) | length }}",
    "|tojson": f"{{{{ [[1]] | tojson(indent={HUGE}) }}}}",
    "|tojson with separators": BIG + "{{ range(100000) | list | tojson(separators=(big, big)) }}",
    "|wordwrap": BIG + "{{ big | wordwrap(1) }}",
    "|map with a long attribute": "{{ range(100000) | map(attribute='"
    + "a." * 20_000
    + "a') | list }}",
    "strftime_now": f"{{{{ strftime_now('%{HUGE}d') }}}}",
    # what is slow without being large
    "str.strip": BIG + "{{ big.strip('c' * 1000000 ~ 'ab') }}",
    "|trim": BIG + "{{ big | trim('c' * 1000000 ~ 'ab') }}",
    "str.rfind": BIG + "{{ ('a' * 4000000).rfind('b' ~ 'a' * 2000000) }}",
    "str.rsplit": BIG + "{{ ('a' * 4000000).rsplit('b' ~ 'a' * 2000000) }}",
    "str.split": BIG + "{{ ('a ' * 4000000).split() | length }}",
    "many searches": BIG + "{% if " + " or ".join(["'c' in big"] * 6000) + " %}{% endif %}",
    "many comparisons": BIG
    + "{% set other = big ~ 'a' %}{% if "
    + " or ".join(["big ~ 'a' == other"] * 3000)
    + " %}{% endif %}",
    "many tests": BIG + "{% if " + " and ".join(["big is lower"] * 6000) + " %}{% endif %}",
    "many filters": BIG + "{{ big" + " | upper | lower" * 200 + " }}",
    "chains of maps": "{{ range(100000)" + " | map('string')" * 100 + " | list | length }}",
    # what no template needs
    "lipsum": "{{ lipsum(n=100000) }}",
    "cycler": "{{ cycler(1).next() }}",
    "joiner": "{{ joiner()() }}",
    "urlize": "{{ 'http://a' | urlize }}",
    "striptags": "{{ '<' | striptags }}",
    "xmlattr": "{{ {} | xmlattr }}",
    "pprint": "{{ 1 | pprint }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import '/etc/passwd' as x %}",
    "from": "{% from '/etc/passwd' import x %}",
    "extends": "{% extends '/etc/passwd' %}",
    # sources
    "a long source": "x" * 1_000_000,
    "many expressions": "{{a}}" * 19_000,
    "many conditions": "{% if a %}" + "{% elif a %}" * 8_000 + "{% endif %}",
    "many macros": "{%macro a()%}{%endmacro%}" * 4_000,
    "many loops": "{%for a in b%}{%endfor%}" * 4_000,
    "many conditions in one another": "{% if a %}" * 3_000 + "{% endif %}" * 3_000,
    "many loops in one another": "{% for a in b %}" * 1_000 + "{% endfor %}" * 1_000,
    "many parentheses": "{{ " + "(" * 40_000 + ")" * 40_000 + " }}",
    "many brackets": "{{ " + "[" * 40_000 + "]" * 40_000 + " }}",
    "many signs": "{{ " + "-" * 90_000 + "1 }}",
    "many negations": "{{ " + "not " * 20_000 + "1 }}",
    "many sums": "{{ 1" + "+1" * 40_000 + " }}",
    "many attributes": "{{ a" + ".a" * 40_000 + " }}",
    "many filters in a row": "{{ a" + "|d" * 40_000 + " }}",
    "many powers": "{{ 2" + "**2" * 25_000 + " }}",
    "a long digit string": "{{ " + "9" * 90_000 + " }}",
    "digits and underscores": "{{ " + "1_" * 45_000 + " }}",
    "an unclosed comment": "{#" * 45_000,
    "an unclosed block": "{%" * 45_000,
    "an unclosed raw block": "{% raw %}" + "{% endra" * 10_000,
    "an unclosed text": "{{ '" + "\\'" * 45_000,
    "spaces": "{{" + " " * 90_000,
    "lines": "{{ a" + "\n" * 90_000 + "-",
    "constants folded early": f"{{% set x = 'a' | center({HUGE}) %}}",
    "a block's argument, computed early": f"{{% autoescape 'a' | indent({HUGE}) ~ 'a' * {HUGE} %}}"
    "{% endautoescape %}",
}


def refusal(template: str, message: Message) -> str | None:
    """Why a template is refused, which happens in time; None if it renders."""
    start = time.monotonic()
    try:
        render(template, [message], bos_token="", eos_token="")
    except (LoadError, RefusedError) as error:
        return error.message
    finally:
        assert time.monotonic() - start < SECONDS
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


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__ }}",
        "{{ messages['__class__'] }}",
        "{{ messages | attr('__class__') }}",
        "{{ messages | map(attribute='__class__') | list }}",
        "{{ messages | map('attr', '__class__') | list }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '{m.__class__}'.format_map({'m': messages}) }}",
        "{{ '{0[__class__]}'.format(messages) }}",
        "{{ ('{0.__class__}' | safe).format(messages) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ raise_exception.__globals__ }}",
        "{{ range.__self__ }}",
        "{{ dict.mro() }}",
        "{{ dict.__subclasses__() }}",
        "{{ dict.update(messages[0], role='x') }}",
        "{{ dict.pop(messages[0], 'role') }}",
        "{{ messages[0].update(role='x') }}",
        "{{ messages[0].pop('role') }}",
        "{{ messages[0].setdefault('x', 1) }}",
        "{{ messages.append(1) }}",
        "{{ messages.clear() }}",
        "{{ messages.sort() }}",
        "{% set messages[0].role = 'x' %}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns.__self__ = 1 %}",
        "{% set ns = namespace({'_x': 1}) %}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ loop.__init__.__globals__ }}",
        "{% for x in [1] %}{{ loop._iterable.__class__ }}{% endfor %}",
        "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
        "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
        "{% macro m() %}{% endmacro %}{{ m.__call__.__func__ }}",
        "{{ nothing.__init__.__globals__ }}",
        "{{ nothing._fail_with_undefined_error() }}",
        "{{ (messages | map('upper')).gi_frame.f_builtins }}",
        "{{ (messages | map('upper')).close() }}",
        "{{ ''.join.__self__.__class__ }}",
        "{{ 'a'.encode() }}",
        "{{ (1).to_bytes(2, 'big') }}",
        "{{ ('a' | safe).unescape() }}",
        "{{ messages | turn! }}",
    ],
)
def test_nothing_inside_can_be_reached(template: str) -> None:
    """No attribute of Python's own, and no message is changed."""
    messages = [dict(ASK)]
    try:
        text = render(template, messages, bos_token="", eos_token="")
    except LoadError as error:
        text = error.message.partition("broken")[1]
    assert text in ("broken", "", "[]", "[Undefined]")
    assert messages == [ASK]


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
