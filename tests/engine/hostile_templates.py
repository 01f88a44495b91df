"""Templates that would take forever, fill the memory, or reach for what is not theirs."""

from __future__ import annotations


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
PRIME = 2**61 - 1  # what Python takes hashes of numbers modulo

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
    # what is nested, where the cost itself would be told from it
    "a nested pattern": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | format }}"),
    "nested lists, put in for nothing": doubled(
        "[1]", "[ns.x, ns.x]", "{{ 'abc' | replace('z', ns.x) }}"
    ),
    "nested lists, formatted by nothing": doubled("[1]", "[ns.x, ns.x]", "{{ 'abc' % ns.x }}"),
    "nested lists between items": doubled("[1]", "[ns.x, ns.x]", "{{ [1, 2] | join(ns.x) }}"),
    "nested lists given to a macro": "{% macro m() %}{{ kwargs }}{{ varargs }}{% endmacro %}"
    + doubled("[1]", "[ns.x, ns.x]", "{{ m(ns.x, a=ns.x) }}"),
    "nested tuples as attributes": doubled(
        "(1,)", "(ns.x, ns.x)", "{{ [{}] | map(attribute=ns.x) | list }}"
    ),
    "nested tuples as names of filters": doubled(
        "(1,)", "(ns.x, ns.x)", "{{ [1] | map(ns.x) | list }}"
    ),
    "nested tuples as a way to round": doubled("(1,)", "(ns.x, ns.x)", "{{ 1 | round(0, ns.x) }}"),
    "nested tuples in a difference": doubled(
        "(1,)", "(ns.x, ns.x)", "{{ {'a': ns.x}.items() - [] }}"
    ),
    "nested tuples as keys that come late": doubled(
        "(1,)", "(ns.x, ns.x)", "{{ dict([[ns.x, 1] | map('default', 1)]) }}"
    ),
    "large lists that come late": "{% set ns = namespace(a=range(99999) | list) %}"
    "{% set a = ns.a + [1] %}{% set b = ns.a + [2] %}"
    "{{ a is in(([[b]] * 5000) | map('first')) }}",
    # what is nested, in an attribute of something small
    "the last item of a loop, joined": doubled("[1]", "[ns.x, ns.x]", "{% for x in [ns.x, 1] %}")
    + "{{ [loop] | join(attribute='previtem') }}{% endfor %}",
    "the last item of a loop, shown": doubled("[1]", "[ns.x, ns.x]", "{% for x in [ns.x, 1] %}")
    + "{{ '{0.previtem}'.format(loop) }}{% endfor %}",
    "the last item of a loop, unique": doubled("(1,)", "(ns.x, ns.x)", "{% for x in [ns.x, 1] %}")
    + "{{ [loop] | unique(attribute='previtem') | list }}{% endfor %}",
    "what a loop has seen changed": doubled("[1]", "[ns.x, ns.x]", "{% set a = ns.x %}")
    + doubled(
        "[1]",
        "[ns.x, ns.x]",
        "{% for x in [a, ns.x] %}{{ loop.changed(x) }}{% endfor %}",
    ),
    "the mapping of keys": doubled(
        "[1]", "[ns.x, ns.x]", "{{ [{'a': ns.x}.keys()] | join(attribute='mapping') }}"
    ),
    "the item of a cycler": doubled(
        "[1]", "[ns.x, ns.x]", "{{ [cycler(ns.x)] | join(attribute='current') }}"
    ),
    "the text of a joiner": doubled(
        "[1]", "[ns.x, ns.x]", "{{ [joiner(ns.x)] | join(attribute='sep') }}"
    ),
    "a text in many joiners": BIG + "{{ ([joiner(big)] * 1000) | join(attribute='sep') }}",
    # numbers whose hashes are equal
    "numbers, unique": f"{{{{ range(0, {PRIME * 40_000}, {PRIME}) | unique | list | length }}}}",
    "numbers as keys of pairs": "{% set ns = namespace(d=0) %}{% macro m() %}"
    "{% set ns.d = dict(kwargs.pairs) %}{% endmacro %}"
    f"{{{{ m(pairs=range(0, {PRIME * 40_000}, {PRIME}) | batch(2)) }}}}",
    "small numbers as keys of pairs": "{{ dict(range(40000) | batch(2)) }}",
    "numbers as names": f"{{{{ namespace(range(0, {PRIME * 40_000}, {PRIME}) | batch(2)) }}}}",
    "numbers as keys": f"{{{{ dict.fromkeys(range(0, {PRIME * 40_000}, {PRIME})) }}}}",
    "numbers as keys of a literal": "{{ {"
    + ",".join(f"{PRIME * n}: 1" for n in range(1, 1_500))
    + "} | length }}",
    "fractions as keys": "{{ {0.5: 1} }}",
    # what comes one by one
    "a chain of attributes": repeated(
        "range(100000)", "ns.x | map(attribute='real')", 300, "{{ ns.x | list | length }}"
    ),
    "a chain of selections": repeated(
        "range(1, 100001)", "ns.x | select", 300, "{{ ns.x | list | length }}"
    ),
    "many attributes to sort by": "{{ range(20000) | sort(attribute=',' * 20000) | length }}",
    "|slice into many": "{{ [] | slice(10 ** 9) | list }}",
    "|batch filled up": "{{ [1] | batch(10 ** 9, 1) | list }}",
    "|sum of lists": "{{ ([[1]] * 100000) | sum(start=[]) | length }}",
    "|sum of a large number": "{{ ([2 ** 40000] + [1] * 100000) | sum % 7 }}",
    "|round far": f"{{{{ 1 | round(-{HUGE}) }}}}",
    "|round far up": f"{{{{ 1.5 | round({HUGE}, 'ceil') }}}}",
    # what is written without being asked for
    "what a loop writes instead": "{% for i in range(100000) %}{% for x in [] %}{% else %}"
    + "x" * 30_000
    + "{% endfor %}{% endfor %}",
    "what a loop goes through": "{% set ns = namespace(x=0) %}{% for i in range(100000) %}"
    "{% for x in [[" + "1," * 5000 + "]] %}{% set ns.x = [ns.x, x] %}{% endfor %}{% endfor %}",
    "what a macro is given without asking": "{% set ns = namespace(x=0) %}{% macro m(a=["
    + "1," * 5000
    + "]) %}{% set ns.x = [ns.x, a] %}{% endmacro %}"
    + "{% for i in range(100000) %}{{ m() }}{% endfor %}",
    "what is called": "{% macro m() %}{{ caller() }}{% endmacro %}{% for i in range(100000) %}"
    "{% call m() %}" + "x" * 30_000 + "{% endcall %}{% endfor %}",
    "what is filtered": "{% for i in range(100000) %}{% filter upper %}"
    + "x" * 30_000
    + "{% endfilter %}{% endfor %}",
    "lines that end otherwise": BIG + "{{ ('a\\r' * 1000) | indent(big) }}",
    "large numbers, negative": "{% set n = ('f' * 7000000) | int(base=16) %}"
    "{{ [" + "-n," * 700 + "] | length }}",
    "large numbers, divided by one": "{% set n = ('f' * 7000000) | int(base=16) %}"
    + repeated("0", "[ns.x, n // 1]", 600, ""),
    "unprintable letters": "{% set s = '\U000e0001' * 7000000 %}"
    + repeated("0", "[ns.x, [s] | string]", 6, ""),
    "escaped letters": "{% set s = '\"' * 7000000 %}" + repeated("0", "[ns.x, s | e]", 6, ""),
    "letters that meet escaped ones": "{% set s = '\"' * 7000000 %}"
    + repeated("0", "[ns.x, ('a' | safe) + s]", 6, ""),
    "escaping everything": "{% autoescape true %}{{ '<' * 1000000 }}{% endautoescape %}",
    # what no template needs
    "lipsum": "{{ lipsum(n=100000) }}",
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
