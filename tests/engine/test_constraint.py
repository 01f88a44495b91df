"""Masks on real vocabularies: what llguidance lets through matches, and refusals name the place."""

from __future__ import annotations

import ctypes
import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ggufs
import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lokal.engine import constraint
from lokal.engine.constraint import Compiler, Grammar, check, schema_grammar
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel
from lokal.engine.request import Matcher
from lokal.engine.vocabulary import Vocabulary
from lokal.errors import ConstraintError

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": 9999},
        "price": {"type": "number", "minimum": 0, "exclusiveMaximum": 100, "multipleOf": 0.25},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        "kind": {"enum": ["new", 'so "called" old', "größer", None, 7]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 3},
        "to": {"$ref": "#/$defs/address"},
        "more": {"anyOf": [{"type": "null"}, {"type": "boolean"}, {"$ref": "#/$defs/address"}]},
    },
    "required": ["id", "code", "kind", "tags", "to"],
    "additionalProperties": False,
    "$defs": {
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string", "minLength": 1, "maxLength": 10},
                "at": {
                    "type": "array",
                    "items": {"$ref": "#/$defs/degrees"},
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
            "required": ["street", "at"],
            "additionalProperties": False,
        },
        "degrees": {"type": "number", "minimum": -90, "maximum": 90, "multipleOf": 0.5},
    },
}


@pytest.fixture(scope="module", params=["tiny", "spm", "bpe"])
def vocabulary(request: pytest.FixtureRequest, tiny: Path, models: Path) -> Iterator[Vocabulary]:
    """That of the embedded model, and two with all bytes: SentencePiece's kind and GPT-2's."""
    kind = request.param
    path = tiny if kind == "tiny" else ggufs.write(models / f"{kind}.gguf", vocab=kind)
    model = LlamaModel(path, Interrupt(), vocab_only=True)
    yield model.vocabulary
    model.close()


@pytest.fixture(scope="module")
def compiler(vocabulary: Vocabulary) -> Compiler:
    return Compiler(vocabulary)


class Ends:
    """A vocabulary with other end-of-generation tokens than its own."""

    def __init__(self, vocabulary: Vocabulary, ends: list[int]) -> None:
        self._vocabulary, self._ends = vocabulary, ends

    def eog_tokens(self) -> list[int]:
        return self._ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vocabulary, name)


def allowed(matcher: Matcher, n_tokens: int, keep: int | None = None) -> list[int]:
    """What a mask leaves of a row of logits."""
    row = (ctypes.c_float * n_tokens)(*itertools.repeat(1.0, n_tokens))
    matcher.mask(ctypes.addressof(row), keep)
    return [int(token) for token in np.flatnonzero(np.isfinite(np.array(row)))]


def answer(
    vocabulary: Vocabulary, matcher: Matcher, seed: int, limit: int = 400
) -> tuple[str, bool]:
    """What a model with random logits writes, and whether it came to an end by itself."""
    rng, ends, written = random.Random(seed), set(vocabulary.eog_tokens()), b""
    for _ in range(limit):
        choices = allowed(matcher, vocabulary.n_tokens)
        assert matcher.error is None
        assert choices
        assert bool(ends & {*choices}) == matcher.complete
        token = rng.choice(choices)
        if token in ends:
            return written.decode(), True
        written += vocabulary.piece(token)
        matcher.accept(token)
        assert matcher.error is None
        if matcher.ended:
            assert matcher.complete
            return written.decode(), True
    return written.decode("utf-8", "replace"), False


def test_what_a_schema_lets_through_is_valid(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """Random models, nested objects, arrays, enums, bounds, patterns: all ends are valid ones."""
    made = compiler.compile(schema_grammar(ORDER))
    validator = jsonschema.Draft202012Validator(ORDER)
    ended = 0
    for seed in range(70):
        text, complete = answer(vocabulary, made.matcher(), seed)
        if complete:
            ended += 1
            validator.validate(json.loads(text))
    assert ended >= 60


scalars = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("integer"), "minimum": st.integers(-99, 0), "maximum": st.integers(1, 99)}
    ),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.fixed_dictionaries(
        {"type": st.just("string"), "minLength": st.integers(0, 2), "maxLength": st.integers(2, 4)}
    ),
    st.builds(
        lambda pattern: {"type": "string", "pattern": pattern},
        st.sampled_from(["^[a-f]{1,3}$", r"^\d+\.\d{2}$", "^(é|ß|你好)$", r'^"\\$', "^[^a-z]{2}$"]),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(
            st.one_of(
                st.text(max_size=5),
                st.integers(-(2**53), 2**53),
                st.booleans(),
                st.none(),
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    st.builds(
        lambda value: {"const": value},
        st.recursive(
            st.one_of(st.text(max_size=3), st.integers(-9, 9)),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.text(max_size=2), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    ),
)
schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(
            lambda properties, required: {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name in required],
                "additionalProperties": False,
            },
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
            st.sets(st.text(max_size=3)),
        ),
        st.builds(
            lambda items, least: {
                "type": "array",
                "items": items,
                "minItems": least,
                "maxItems": least + 1,
            },
            inner,
            st.integers(0, 2),
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schema=schemas, seed=st.integers(0, 2**32))
def test_every_schema_holds(
    vocabulary: Vocabulary, compiler: Compiler, schema: dict[str, Any], seed: int
) -> None:
    """Whatever the schema, what ends is valid."""
    grammar = schema_grammar(schema)
    check(grammar)
    text, complete = answer(vocabulary, compiler.compile(grammar).matcher(), seed)
    if complete:
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def test_whitespace_is_bounded(compiler: Compiler, vocabulary: Vocabulary) -> None:
    """At most one space after a comma or a colon; a model cannot lose itself in more."""
    schema = {"type": "array", "items": {"const": {"a": 1}}, "minItems": 2, "maxItems": 2}
    made = compiler.compile(schema_grammar(schema))
    seen = {answer(vocabulary, made.matcher(), seed)[0] for seed in range(60)}
    assert seen <= {
        f'[{{"a":{one}1}},{two}{{"a":{three}1}}]'
        for one, two, three in itertools.product(["", " "], repeat=3)
    }
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0"),
        ({"type": "number", "exclusiveMaximum": 0.0, "minimum": -0.5}, "-0"),
        ({"allOf": [{"exclusiveMinimum": 0}, {"type": "number", "exclusiveMaximum": 1}]}, "0"),
    ],
)
def test_zero_is_no_more_than_zero(
    compiler: Compiler, vocabulary: Vocabulary, schema: dict[str, Any], wrong: str
) -> None:
    """llguidance alone lets it through."""
    for seed in range(30):
        text, complete = answer(
            vocabulary, compiler.compile(schema_grammar(schema)).matcher(), seed, 30
        )
        assert text != wrong
        if complete:
            jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def test_the_empty_schema_is_any_json(compiler: Compiler, vocabulary: Vocabulary) -> None:
    """{} asks for a JSON value and nothing more."""
    made = compiler.compile(schema_grammar("{}"))
    for seed in range(20):
        text, complete = answer(vocabulary, made.matcher(), seed, 80)
        if complete:
            json.loads(text)


def test_json_is_an_object(compiler: Compiler, vocabulary: Vocabulary) -> None:
    """What users of OpenAI's json_object expect."""
    made = compiler.compile(Grammar("json"))
    for seed in range(20):
        text, complete = answer(vocabulary, made.matcher(), seed, 80)
        assert text.startswith("{")
        assert not complete or isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", r"[a-c]{2,4}\d"), r"[a-c]{2,4}\d"),
        (Grammar("regex", "^(yes|no)$"), "yes|no"),
        (Grammar("regex", "a/b\n(c|é)"), "a/b\n(c|é)"),
        (Grammar("regex", ""), ""),
        (Grammar("grammar", 'start: word ("," word){0,2}\nword: /[xyz]{1,2}/'), "[xyz,]{1,8}"),
        (Grammar("grammar", 'root ::= num ("+" num)?\nnum ::= [0-9]'), r"\d(\+\d)?"),
        (Grammar("grammar", r'root ::= "\u0041" "\u00e9" [\u4f60]'), "Aé你"),
    ],
)
def test_regex_lark_and_gbnf(
    vocabulary: Vocabulary, compiler: Compiler, grammar: Grammar, pattern: str
) -> None:
    """Each of the three notations; the whole answer matches."""
    check(grammar)
    made = compiler.compile(grammar)
    for seed in range(10):
        text, complete = answer(vocabulary, made.matcher(), seed)
        assert complete
        assert re.fullmatch(pattern, text), text


def test_every_end_token_may_end_it_and_none_is_text(vocabulary: Vocabulary) -> None:
    """Some models have several, and spell them like words."""
    words = [t for t in range(vocabulary.n_tokens) if vocabulary.piece(t).isalpha()][:2]
    ends = [*vocabulary.eog_tokens(), *words]
    made = Compiler(Ends(vocabulary, ends)).compile(Grammar("regex", "[a-z]*"))
    assert {*ends} <= {*allowed(made.matcher(), vocabulary.n_tokens)}
    made = Compiler(Ends(vocabulary, ends)).compile(Grammar("regex", "[a-zA-Z]+"))
    assert {*ends}.isdisjoint(allowed(made.matcher(), vocabulary.n_tokens))


def test_a_model_without_end_token_ends_where_nothing_may_follow(vocabulary: Vocabulary) -> None:
    """Nothing else could tell."""
    made = Compiler(Ends(vocabulary, [])).compile(schema_grammar({"enum": ["a", "b"]}))
    matcher, written = made.matcher(), b""
    while not matcher.ended:
        token = allowed(matcher, vocabulary.n_tokens)[0]
        written += vocabulary.piece(token)
        matcher.accept(token)
    assert json.loads(written) in ("a", "b")


def test_control_tokens_are_no_text(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """They write nothing, so no string may hold them."""
    matcher = compiler.compile(Grammar("regex", "(?s).+")).matcher()
    silent = {token for token in range(vocabulary.n_tokens) if not vocabulary.piece(token)}
    assert silent
    assert silent.isdisjoint(allowed(matcher, vocabulary.n_tokens))


def test_one_token_may_be_kept(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """The one that begins a reasoning section."""
    made, keep = compiler.compile(Grammar("regex", "[0-9]")), vocabulary.eog_tokens()[0]
    without = allowed(made.matcher(), vocabulary.n_tokens)
    assert {*allowed(made.matcher(), vocabulary.n_tokens, keep)} == {*without, keep}


@pytest.mark.parametrize(
    "data", [b"", b"h", b"hello", b"\n hel", "hé你🙂".encode(), b"h\xc3", b"\xf0"]
)
def test_an_answer_may_begin_in_the_middle_of_a_token(
    vocabulary: Vocabulary, compiler: Compiler, data: bytes
) -> None:
    """Then it is bytes that begin it, and tokens that go on."""
    whole = data.decode("utf-8", "ignore") + {b"h\xc3": "é", b"\xf0": "🙂"}.get(data, "") + "!"
    matcher = compiler.compile(Grammar("regex", re.escape(whole))).matcher()
    matcher.accept_bytes(data)
    written = data
    while matcher.error is None and not matcher.ended:
        token = allowed(matcher, vocabulary.n_tokens)[-1]
        written += vocabulary.piece(token)
        matcher.accept(token)
    assert (matcher.error, written.decode()) == (None, whole)
    matcher = compiler.compile(Grammar("regex", "x")).matcher()
    matcher.accept_bytes(b"hello")
    assert isinstance(matcher.error, ConstraintError)


def test_allowed_logits_keep_their_values(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """The mask forbids, and weighs nothing."""
    n = vocabulary.n_tokens
    row = (ctypes.c_float * (n + 1))(*(float(token) for token in range(n + 1)))
    compiler.compile(Grammar("regex", "[0-9]")).matcher().mask(ctypes.addressof(row))
    values = np.array(row)
    kept = np.flatnonzero(np.isfinite(values))
    assert 1 < len(kept) < n
    assert [*values[kept]] == [*kept]
    assert values[n] == n  # not ours


def test_matchers_do_not_know_of_each_other(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """One constraint serves many answers at once."""
    made = compiler.compile(Grammar("regex", "[ab][cd]"))
    first, second = made.matcher(), made.matcher()
    before = allowed(second, vocabulary.n_tokens)
    first.accept(before[0])
    assert allowed(second, vocabulary.n_tokens) == before
    assert allowed(first, vocabulary.n_tokens) != before
    assert not second.complete


def test_a_token_that_does_not_fit_is_an_error(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """And nothing is masked any more."""
    matcher = compiler.compile(Grammar("regex", "[0-9]")).matcher()
    wrong = ({*range(vocabulary.n_tokens)} - {*allowed(matcher, vocabulary.n_tokens)}).pop()
    matcher.accept(wrong)
    assert isinstance(matcher.error, ConstraintError)
    assert "\n" not in matcher.error.message
    assert not matcher.complete
    assert not matcher.ended
    assert len(allowed(matcher, vocabulary.n_tokens)) == vocabulary.n_tokens


def test_a_vocabulary_that_cannot_write_it_is_an_error(vocabulary: Vocabulary) -> None:
    """No row is left without a token."""

    class Poor(Ends):
        def piece(self, *_: object, **__: object) -> bytes:
            return b"a"

    made = Compiler(Poor(vocabulary, [])).compile(Grammar("regex", "a[bc]"))
    matcher = made.matcher()
    assert allowed(matcher, vocabulary.n_tokens)
    matcher.accept(0)
    assert len(allowed(matcher, vocabulary.n_tokens)) == vocabulary.n_tokens
    assert isinstance(matcher.error, ConstraintError)


def test_too_complex_an_answer_is_an_error(vocabulary: Vocabulary, compiler: Compiler) -> None:
    """llguidance's limits end it, not memory or patience."""
    grammar = schema_grammar({"type": "string", "pattern": "^(a{1000}){1000}$"})
    matcher = compiler.compile(grammar).matcher()
    for _ in range(4):
        if matcher.error is None:
            matcher.accept(allowed(matcher, vocabulary.n_tokens)[0])
    assert isinstance(matcher.error, ConstraintError)
    assert "\n" not in matcher.error.message


def test_compiled_grammars_are_kept_but_not_all(vocabulary: Vocabulary) -> None:
    """Rows with a schema each do not fill the memory; rows with the same one compile it once."""
    compiler = Compiler(vocabulary)
    first = compiler.compile(Grammar("regex", "x"))
    for number in range(100):
        compiler.compile(Grammar("regex", f"a{{{number}}}"))
        if number < 50:
            assert compiler.compile(Grammar("regex", "x")) is first
    assert len(compiler._compiled) == constraint.CACHED
    assert compiler.compile(Grammar("regex", "x")) is not first


BAD_SCHEMAS = [
    ('{"type": "string"', "line 1, column 18"),
    ('{\n  "type": "string"\n  "minLength": 3}', "line 3, column 3"),
    ("", "line 1, column 1"),
    ('{"a": 1, "a": 2}', 'the key "a" stands twice'),
    ('{"minimum": NaN}', "NaN is no JSON number"),
    ('{"minimum": ' + "1" * 5000 + "}", "digits"),
    ("[]", "no JSON object"),
    ("true", "no JSON object"),
    ('{"const": "\\ud800"}', "U+D800"),
    ('{"items": ' * 100_000, "nested too deeply"),
    ('{"items": ' * 500 + "{}" + "}" * 500, "nested too deeply"),
    ('{"type": "strin"}', "at #: Invalid type: strin"),
    ('{"properties": {"a": {"type": ["string", 3]}}}', "#/properties/a"),
    ('{"properties": {"not": {"items": {"not": {}}}}}', "at #/properties/not/items: not: not supp"),
    ('{"properties": {"a/b": {"uniqueItems": true}}}', "at #/properties/a~1b: uniqueItems"),
    ('{"$defs": {"x": {"if": {}, "then": {}}}, "$ref": "#/$defs/x"}', "at #/$defs/x: if, then"),
    ('{"anyOf": [{"type": "null"}, {"$ref": "#/nowhere"}]}', "at #/anyOf/1: Pointer '/nowhere'"),
    ('{"$ref": "https://example.com/x"}', "https://example.com/x"),
    ('{"$ref": "#"}', "nothing of finite length"),
    ('{"items": {"pattern": "a("}}', "at #/items: unclosed group (character 2 of a()"),
    ('{"pattern": "\\\\bx"}', "not supported"),
    ('{"pattern": "(?=x)y"}', "look-around"),
    ('{"format": "martian"}', "Unknown format: martian"),
    ('{"oneOf": [{"type": "number"}, {"type": "integer"}]}', "oneOf"),
    ('{"enum": []}', "Unsatisfiable"),
    ('{"enum": [1, 9007199254740993]}', "holds 9007199254740993"),
    ('{"type": "string", "pattern": "^aaa$", "maxLength": 2}', "contradict"),
    ('{"minimum": 3, "maximum": 2, "type": "number"}', "minimum (3) is greater than maximum (2)"),
    ('{"minLength": "x"}', "minLength"),
    ('{"x-guidance": {"lenient": true, "whitespace_flexible": true}, "not": {}}', "not supported"),
]


@pytest.mark.parametrize(("text", "words"), BAD_SCHEMAS, ids=[text[:40] for text, _ in BAD_SCHEMAS])
def test_a_bad_schema_is_refused_with_the_place(text: str, words: str) -> None:
    """Before anything is loaded, in one line."""
    with pytest.raises(ConstraintError) as caught:
        check(schema_grammar(text))
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


BAD_GRAMMARS = [
    ("regex", "a(b", "unclosed group (character 2 of a(b)"),
    ("regex", "\\bx", "lookarounds not supported"),
    ("regex", "a{5,2}", "invalid repetition"),
    ("regex", "a\\", "lone \\"),
    ("regex", "(" * 100_000 + "a" + ")" * 100_000, "nest"),
    ("regex", "x" * 2_000_000, "more than"),
    ("grammar", "start: foo", 'line 1, column 8: unknown name: "foo"'),
    ("grammar", "start: a\na: b\n  b c", "line 3, column 5"),
    ("grammar", 'foo: "a"', "no start rule"),
    ("grammar", "", "Empty grammar"),
    ("grammar", "start: start", "nothing of finite length"),
    ("grammar", 'start: %json {"type": "foo"}', "Invalid type: foo"),
    ("grammar", "start: " + "(" * 100_000, "nested"),
    ("grammar", 'root ::= "a"\nfoo ::= ("b"', "line 2, column 13: Expected ')'"),
    ("grammar", "root ::= foo", "Rule 'foo' not found"),
    ("grammar", 'foo ::= "x"', "No 'root' rule"),
    ("grammar", "root ::= " + "(" * 100_000, "nested too deeply"),
    ("grammar", 'root ::= "\\', "ends too early"),
    ("grammar", 'root ::= "a"{0}', 'in start: "a"{0,0}'),
]


@pytest.mark.parametrize(("kind", "text", "words"), BAD_GRAMMARS)
def test_a_bad_grammar_is_refused_with_the_place(kind: str, text: str, words: str) -> None:
    """In one line that is not too long to read."""
    with pytest.raises(ConstraintError) as caught:
        check(Grammar(kind, text))
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "link",
    [
        (
            '"{0}":{{"items":{{"$ref":"#/$defs/{1}"}}}}',
            '{{"$ref":"#/$defs/0","$defs":{{{}}}}}',
            ",",
        ),
        ('"{0}":{{"$ref":"#/$defs/{1}"}}', '{{"$ref":"#/$defs/0","$defs":{{{}}}}}', ","),
        ("A{0}: A{1}", "start: A0\n{}", "\n"),
        ('a{0}: "x" a{1}', "start: a0\n{}", "\n"),
    ],
    ids=["items", "ref", "terminals", "rules"],
)
def test_long_chains_do_not_overflow_the_stack(link: tuple[str, str, str]) -> None:
    """llguidance compiles by recursion; an overflow would end the process without a word."""
    form, whole, joint = link
    links = [form.format(number, number + 1) for number in range(20_000)]
    last = form.format(20_000, 20_000)
    text = whole.format(joint.join([*links, last]))
    grammar = schema_grammar(text) if text.startswith("{") else Grammar("grammar", text)
    try:
        check(grammar)
    except ConstraintError as error:
        assert len(error.message) < 300  # noqa: PT017 - it may compile as well


def test_a_schema_keeps_its_order_and_loses_its_spaces() -> None:
    """The order of the keys is that of the answer; spaces mean nothing."""
    text = '{ "properties": {"b": {}, "a": {"const": "é"}} }'
    assert schema_grammar(text).text == '{"properties":{"b":{},"a":{"const":"é"}}}'
    assert schema_grammar(text) == schema_grammar(json.loads(text))
    assert hash(schema_grammar(text)) == hash(schema_grammar(text))


def test_a_schema_of_python_objects_must_be_json() -> None:
    """Sets are none."""
    with pytest.raises(ConstraintError, match="cannot be written as JSON"):
        schema_grammar({"enum": {1, 2}})
    with pytest.raises(ConstraintError, match="the body"):
        schema_grammar("[", "the body")
