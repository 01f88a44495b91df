"""Answers that match a JSON Schema, a regular expression or a grammar.

llguidance compiles each of them to a mask: which tokens may follow. It and numpy take 0.1 s to
import, so that happens where a constraint is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lokal.engine.gbnf import is_gbnf, unescaped
from lokal.engine.grammar_faults import fault
from lokal.engine.request import Constraint
from lokal.engine.schema import canonical_schema, parse_schema, subschemas, without_zero_bounds
from lokal.engine.stack import with_deep_stack
from lokal.errors import ConstraintError, LokalError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_TEXT = 2**20  # characters; a deep stack holds the longest chain of rules in so many
CACHED = 32  # compiled grammars
MAX_SEARCHED = 4 * 2**20  # characters of schemas inside a schema tried in search of a fault

# Small models lose themselves in whitespace where there may be any number of it, and are
# at their best where the one space that they have seen most may stand.
_JSON_OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "lenient": False,
    "coerce_one_of": False,
}


class Grammar(NamedTuple):
    """What an answer must match.

    `kind` is "schema" (`text` is its canonical JSON), "json" (any JSON object: what OpenAI's
    json_object promises), "regex" (in Rust's syntax, matching the whole answer), or "grammar"
    (Lark, or llama.cpp's GBNF, told by its `::=`).
    """

    kind: str
    text: str = ""


class Vocabulary(Protocol):
    """What constraints need of a vocabulary."""

    @property
    def n_tokens(self) -> int:
        """How many tokens there are; as many as logits in a row."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token writes, or is named by."""

    def eog_tokens(self) -> list[int]:
        """The tokens that end the generation."""

    def native(self) -> tuple[int, int]:
        """Addresses of the native vocabulary and tokenizer."""


def schema_grammar(schema: str | Mapping[str, Any], name: str = "the schema") -> Grammar:
    """A grammar out of a JSON Schema, as text or as data; `name` stands for it in messages.

    Raises:
        ConstraintError: not JSON, with line and column; not an object; too large.
    """
    parsed = parse_schema(schema, name) if isinstance(schema, str) else schema
    grammar = Grammar("schema", canonical_schema(parsed, name))
    _check_size(grammar)
    return grammar


@functools.lru_cache(CACHED)  # rows of a batch often share one
def check(grammar: Grammar) -> None:
    """Refuse what does not compile, without a model.

    Raises:
        ConstraintError: with the place.
        SpaceError: no memory to find out.
    """
    source = _source(grammar)
    failed, messages = _validate(source)
    if failed:
        raise _refusal(grammar, messages[0])
    if not messages:  # else it names tokens that only a model has
        _compile(grammar, source, _byte_tokenizer())


class Compiler:
    """Compiles grammars for one vocabulary; the last few are kept."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[Grammar, Constraint] = OrderedDict()

    def compile(self, grammar: Grammar) -> Constraint:
        """The constraint for a grammar.

        Raises:
            ConstraintError: it does not compile, with the place.
            SpaceError: no memory to compile it.
        """
        if grammar not in self._compiled:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._vocabulary)
            native = _compile(grammar, _source(grammar), self._tokenizer)
            n_tokens = self._vocabulary.n_tokens
            self._compiled[grammar] = _Constraint(native, self._tokenizer, n_tokens)
            if len(self._compiled) > CACHED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(grammar)
        return self._compiled[grammar]


class _Constraint:
    """Implements `lokal.engine.request.Constraint`."""

    def __init__(self, native: LLMatcher, tokenizer: LLTokenizer, n_tokens: int) -> None:
        self._native, self._tokenizer, self._n_tokens = native, tokenizer, n_tokens

    def matcher(self) -> _Matcher:
        return _Matcher(self._native.deep_copy(), self._tokenizer, self._n_tokens)


class _Matcher:
    """Implements `lokal.engine.request.Matcher`."""

    def __init__(self, native: LLMatcher, tokenizer: LLTokenizer, n_tokens: int) -> None:
        self._native, self._tokenizer, self._n_tokens = native, tokenizer, n_tokens
        self.error: LokalError | None = None

    @property
    def complete(self) -> bool:
        return self.error is None and self._native.is_accepting()

    @property
    def ended(self) -> bool:
        return self.complete and self._native.is_stopped()

    def mask(self, logits: int, keep: int | None = None) -> None:
        import numpy as np

        if self.error:
            return
        mask = np.frombuffer(self._native.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(mask, count=self._n_tokens, bitorder="little")
        if self._native.is_error() or not allowed.any():
            self._fail()
            return
        if keep is not None:
            allowed[keep] = 1
        memory = (ctypes.c_char * (4 * self._n_tokens)).from_address(logits)
        row = np.frombuffer(memoryview(memory), np.float32)
        np.copyto(row, -np.inf, where=allowed == 0)

    def accept(self, token: int) -> None:
        if self.error is None and not self._native.consume_token(token):
            self._fail()

    def accept_bytes(self, data: bytes) -> None:
        for token in self._tokenizer.tokenize_bytes(data) if data else ():
            self.accept(token)

    def _fail(self) -> None:
        why = fault(self._native.get_error()).why or "no token of this model can follow"
        self.error = ConstraintError(
            f"the answer cannot go on as its schema or grammar asks: {why}",
            hint="a simpler one, with shorter repetitions, may work",
        )


def _tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """The vocabulary as llguidance knows it: 0.1 s for 32,000 tokens."""
    ends = vocabulary.eog_tokens()
    tokens = [vocabulary.piece(token) for token in range(vocabulary.n_tokens)]
    for token in {*ends, *(token for token, piece in enumerate(tokens) if not piece)}:
        # With this byte in front it is no text, and only a grammar that names it allows it.
        tokens[token] = b"\xff" + vocabulary.piece(token, special=True)
    if not ends:  # one that the model cannot write: llguidance needs one
        ends = [len(tokens)]
        tokens.append(b"\xff<end>")
    address, tokenize = vocabulary.native()
    made: LLTokenizer = _llguidance().LLTokenizer.from_llamacpp(
        tokens=tokens, vocab_ptr=address, tokenize_fptr=tokenize, eos_token=ends, slices=None
    )
    return made


@functools.cache
def _byte_tokenizer() -> LLTokenizer:
    tokenizer: LLTokenizer = _llguidance().LLTokenizer("byte")
    return tokenizer


def _source(grammar: Grammar) -> str:
    """The grammar in llguidance's own form.

    Raises:
        ConstraintError: it is too large, no GBNF, or half an escape.
    """
    _check_size(grammar)
    native = _llguidance().LLMatcher
    if grammar.kind in ("schema", "json"):
        schema = grammar.text if grammar.kind == "schema" else '{"type":"object"}'
        try:
            return _from_schema(schema)
        except ValueError as error:
            raise _refusal(grammar, str(error).split(" at line ")[0]) from None
        except RecursionError:
            raise _refusal(grammar, "nested too deeply") from None
    if grammar.kind == "regex":
        if len(grammar.text) - len(grammar.text.rstrip("\\")) & 1:  # it would escape the delimiter
            raise ConstraintError(
                "the regex does not compile: it ends in a lone \\",
                hint="write \\\\ for the character",
            )
        return str(native.grammar_from_regex(grammar.text))
    if grammar.kind == "grammar":
        return str(native.grammar_from_lark(_lark(grammar)))
    raise ValueError(f"there is no grammar of the kind {grammar.kind!r}")


def _lark(grammar: Grammar) -> str:
    if not is_gbnf(grammar.text):
        return grammar.text
    from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

    try:
        return gbnf_to_lark(unescaped(grammar.text))
    except GbnfToLarkError as error:
        position, why = error.pos, str(error).split(" at line ")[0]
        before = position.text[: position.pos]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        why = f"line {line}, column {column}: {why}"
    except RecursionError:
        why = "it is nested too deeply"
    except Exception as error:  # it raises whatever comes to hand
        why = "it ends too early" if isinstance(error, IndexError) else str(error)
    raise ConstraintError(f"the grammar (GBNF) does not compile: {why}", hint="correct it there")


def _compile(grammar: Grammar, source: str, tokenizer: LLTokenizer) -> LLMatcher:
    """A matcher at its beginning, from which others are copied.

    Raises:
        ConstraintError: it does not compile, or matches nothing.
        SpaceError: no memory for it.
    """
    lib = _llguidance()
    limits = lib.LLParserLimits(verbose_errors=False)
    native: LLMatcher = with_deep_stack(
        lambda: lib.LLMatcher(tokenizer, source, log_level=0, limits=limits)
    )
    if not native.is_error():
        trial = native.deep_copy()
        trial.compute_bitmask()
        if not trial.is_error():
            return native
        native = trial
    raise _refusal(grammar, native.get_error())


def _check_size(grammar: Grammar) -> None:
    if len(grammar.text) > MAX_TEXT:
        raise ConstraintError(
            f"the {grammar.kind} has {len(grammar.text)} characters, more than {MAX_TEXT}",
            hint="give a smaller one",
        )


def _refusal(grammar: Grammar, message: str) -> ConstraintError:
    """What llguidance said, with the place in the user's own text."""
    found, hint = fault(message), "correct it there"
    why = found.why
    if grammar.kind in ("schema", "json"):
        why = f"at {_place(grammar, why)}: {why}"
        if "oneOf" in why:
            hint = "use anyOf"
        elif "not supported" in why:
            hint = "leave it out, and check the answers for it yourself"
    elif grammar.kind == "grammar" and found.line:
        if is_gbnf(grammar.text):  # it counts the lines of the conversion
            why = f"{why}, in {_lark(grammar).splitlines()[found.line - 1]}"
        else:
            why = f"line {found.line}, column {found.column}: {why}"
    return ConstraintError(f"the {grammar.kind} does not compile: {why}", hint=hint)


def _place(grammar: Grammar, why: str) -> str:
    """JSON pointer of the innermost schema that alone has the same fault; llguidance names none."""
    try:
        schema = json.loads(grammar.text or "{}")
    except RecursionError:
        return "#"
    shared = {key: schema[key] for key in ("$schema", "$defs", "definitions") if key in schema}
    places, searched = ["#"], 0
    for pointer, inner in subschemas(schema):
        text = json.dumps({**shared, **inner})
        searched += len(text)
        if searched > MAX_SEARCHED:
            break
        with contextlib.suppress(ValueError):
            failed, messages = _validate(_from_schema(text))
            if failed and fault(messages[0]).why == why:
                places.append(pointer)
    return max(places, key=lambda pointer: pointer.count("/"))


def _from_schema(text: str) -> str:
    """Raises: ValueError: it is no JSON, or nested too deeply."""
    native: Any = _llguidance().LLMatcher  # its stubs want every option
    source: str = native.grammar_from_json_schema(
        without_zero_bounds(text), overrides=_JSON_OPTIONS
    )
    return source


def _validate(source: str) -> tuple[bool, list[str]]:
    """Whether a grammar in llguidance's own form is wrong, and why; else what it warns of."""
    validate: Callable[[str], tuple[bool, list[str]]]
    validate = _llguidance().LLMatcher.validate_grammar_with_warnings
    return with_deep_stack(lambda: validate(source))


def _llguidance() -> Any:
    """The library, set up."""
    # Where the variable for all of Rust is set, an error deep in a grammar takes minutes.
    os.environ.setdefault("RUST_LIB_BACKTRACE", "0")
    import llguidance

    return llguidance
