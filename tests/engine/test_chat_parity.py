"""Chat templates of all families render as `transformers` renders them, byte for byte.

`families/` holds a template for each family in the registry: its format, said with the constructs
of Jinja that its own template is made of. `registry` names it for every model. Templates from
elsewhere can be tried as well: every `*.jinja` file in the directory that the environment variable
LOKAL_CHAT_TEMPLATES names.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

import lokal
from lokal.catalog.registry import Registry
from lokal.engine.chat import render
from lokal.errors import LoadError, RefusedError
from lokal.gguf import reader

ENTRIES = list(Registry.read().entries())

# What a model of the registry is called, and the family that its template is of.
REGISTRY = {
    "mistral": "mistral-v3",
    "mistral:7b-v0.2": "mistral-v1",
    "mixtral": "mistral-v1",
    "mixtral:8x22b": "mistral-v3",
    "mistral-nemo": "mistral-nemo",
    "mistral-small": "mistral-small",
    "ministral": "ministral",
    "magistral": "magistral",
    "devstral": "devstral",
    "voxtral": "mistral-small",
    "grok:2": "grok-2",
    "llama3.1": "llama3.1",
    "llama3.2": "llama3.2",
    "llama3.3": "llama3.1",
    "tinyllama": "tinyllama",
    "deepseek-r1": "deepseek-r1",
    "deepseek-r1:671b": "deepseek-r1-0528",
    "deepseek-v3": "deepseek-v3",
    "qwen2.5": "qwen2.5",
    "qwen3": "qwen3",
    "gpt-oss": "gpt-oss",
    "gemma3": "gemma3",
    "phi4": "phi4",
    "phi4-mini": "phi4-mini",
    "smollm2": "smollm2",
    "smollm3": "smollm3",
}


def known() -> dict[str, str]:
    """Templates by name: of families, of the registry, the embedded one, and from elsewhere."""
    folders = [Path(__file__).with_name("families")]
    if "LOKAL_CHAT_TEMPLATES" in os.environ:
        folders.append(Path(os.environ["LOKAL_CHAT_TEMPLATES"]))
    paths = [path for folder in folders for path in sorted(folder.glob("*.jinja"))]
    templates = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    templates |= {entry.ref: entry.template for entry in ENTRIES if entry.template}
    tiny = reader.read(Path(lokal.__file__).parent / "data" / "tiny.gguf").chat_template
    return {**templates, "tiny": tiny or ""}


TEMPLATES = known()
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def user(content: Any = "What is the weather in Oslo?", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any = "Cold.", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any = "Be brief.", role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def call(city: str = "Oslo", id_: str = "a1b2c3d4e") -> dict[str, Any]:
    arguments = {"city": city, "days": 2, "units": {"wind": "m/s", "celsius": True}, "ids": []}
    return {
        "id": id_,
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


def result(content: Any = '{"°C": -4}', id_: str = "a1b2c3d4e") -> dict[str, Any]:
    return {"role": "tool", "name": "weather", "tool_call_id": id_, "content": content}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> & later, in any “city”.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": "integer", "default": 1, "nullable": True},
                    "units": {"type": "string", "enum": ["m/s", "knots"]},
                    "ids": {"type": "array", "items": {"type": "number"}},
                    "where": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {}}]},
                },
                "required": ["city"],
            },
            "return": {"type": "string"},
        },
    },
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {}}},
]
TURNS = [user("Hi"), assistant("Hello"), user("Bye")]
TOOL_TURNS = [user(), assistant("", tool_calls=[call()]), result()]
UNICODE = (
    "Grüße, 世界 🌍\u200d\u2028 <|im_end|> </s> {{ 7 * 7 }} {% raw %} 'q' \"d\" \\ \t\r\n\n end "
)

# A conversation and what else the template is given.
SHAPES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "a question": ([user()], {}),
    "no generation prompt": ([user()], {"add_generation_prompt": False}),
    "a system text": ([system(), user()], {}),
    "system texts in a row": ([system(), system("Be kind."), user()], {}),
    "system texts in the middle": ([user(), system(), assistant(), system("Sing."), user()], {}),
    "a system text at the end": ([user(), system()], {}),
    "a system text alone": ([system()], {}),
    "a developer's text": ([system(role="developer"), user()], {}),
    "turns": (TURNS, {}),
    "turns after a system text": ([system(), *TURNS], {}),
    "ends with the assistant": ([user(), assistant("It is")], {"add_generation_prompt": False}),
    "continues the assistant": ([user(), assistant("It is")], {}),
    "starts with the assistant": ([assistant(), user()], {}),
    "users in a row": ([user(), user("And now?")], {}),
    "assistants in a row": ([user(), assistant(), assistant("Very."), user()], {}),
    "empty texts": ([system(""), user(""), assistant(""), user("")], {}),
    "blank texts": ([system(" \n"), user("\n  a \n"), assistant("\n\n b\t"), user(" ")], {}),
    "unicode": ([system(UNICODE), user(UNICODE), assistant(UNICODE), user(UNICODE)], {}),
    "a long conversation": ([system(), *(TURNS[:2] * 20), user()], {}),
    "tools": ([user()], {"tools": TOOLS}),
    "tools and a system text": ([system(), user()], {"tools": TOOLS}),
    "no tools": ([user()], {"tools": []}),
    "tool calls": (TOOL_TURNS, {"tools": TOOLS}),
    "tool calls, answered": ([system(), *TOOL_TURNS, assistant(), user()], {"tools": TOOLS}),
    "tool calls without tools": ([*TOOL_TURNS, assistant()], {}),
    "two calls at once": (
        [
            user(),
            assistant("", tool_calls=[call(), call("Rome", "f6g7h8i9j")]),
            result(),
            result("warm", "f6g7h8i9j"),
            assistant("Both."),
        ],
        {"tools": TOOLS},
    ),
    "calls in two rounds": (
        [*TOOL_TURNS, assistant("So", tool_calls=[call("Rome")]), result("warm")],
        {"tools": TOOLS},
    ),
    "arguments as text": (
        [
            user(),
            assistant(
                "",
                tool_calls=[
                    {
                        "id": "a1b2c3d4e",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            ),
            result(),
        ],
        {"tools": TOOLS},
    ),
    "null content": ([user(), assistant(None, tool_calls=[call()]), result()], {"tools": TOOLS}),
    "no content": ([user(), {"role": "assistant", "tool_calls": [call()]}, result()], {}),
    "parts": (
        [system([{"type": "text", "text": "Be"}]), user([{"type": "text", "text": "a"}])],
        {},
    ),
    "many parts": (
        [user([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])],
        {},
    ),
    "thinking on": ([system(), user()], {"enable_thinking": True, "thinking": True}),
    "thinking off": ([system(), user()], {"enable_thinking": False, "thinking": False}),
    "no thinking, said in the system text": ([system("Be brief. /no_think"), user()], {}),
    "an effort": ([user()], {"reasoning_effort": "high", "model_identity": "You are it."}),
    "old thoughts": ([*TURNS[:1], assistant("<think>\nHm\n</think>\n\nHi"), user("Bye")], {}),
    "new thoughts": ([user(), assistant("<think>\nHm\n</think>\n\nHi")], {}),
    "thoughts apart": (
        [user(), assistant("Hi", reasoning_content="Hm\n"), user(), assistant(reasoning="So")],
        {"add_generation_prompt": False},
    ),
    "thoughts before a call": (
        [user(), assistant("", thinking="Look", tool_calls=[call()]), result()],
        {"tools": TOOLS},
    ),
    "an unknown role": ([{"role": "critic", "content": "Bad."}, user()], {}),
    "documents": ([user()], {"documents": [{"title": "T", "text": "Body"}]}),
    "a date": ([user()], {"date_string": "26 July 2024", "builtin_tools": ["brave_search"]}),
}


def theirs(template: str, messages: Any, variables: dict[str, Any]) -> str:
    """What transformers renders, or the kind of its refusal and its words."""
    given = {"add_generation_prompt": True, **TOKENS, **copy.deepcopy(variables)}
    try:
        texts, _ = render_jinja_template([copy.deepcopy(messages)], chat_template=template, **given)
    except jinja2.TemplateError as error:
        raised = type(error) is jinja2.TemplateError
        return f"refused: {error}" if raised else "broken"
    except Exception:
        return "broken"
    return f"text: {texts[0]}"


def ours(template: str, messages: Any, variables: dict[str, Any]) -> str:
    """The same of lokal; what takes too long or makes too much is neither refused nor broken."""
    try:
        return f"text: {render(template, messages, **TOKENS, **variables)}"
    except RefusedError as error:
        return error.message.replace("the chat template refuses", "refused")
    except LoadError as error:
        return "broken" if "is broken" in error.message else error.message


def test_every_model_has_its_family() -> None:
    """A model that is added to the registry is thought of here."""
    for entry in ENTRIES:
        if not entry.base and not entry.embedded and not entry.template:
            family = REGISTRY.get(entry.ref) or REGISTRY[entry.ref.partition(":")[0]]
            assert family in TEMPLATES


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_render_as_in_transformers(template: str, shape: str) -> None:
    """The same text, or the same refusal."""
    messages, variables = SHAPES[shape]
    untouched = copy.deepcopy(messages)
    source = TEMPLATES[template]
    assert ours(source, messages, variables) == theirs(source, messages, variables)
    assert messages == untouched


@pytest.mark.parametrize(
    "expression",
    [
        *("2.5 | round", "3.14159 | round(2)", "7 | round(-1)", "1.21 | round(1, 'ceil')"),
        *("1.29 | round(1, 'floor')", "1 | round(0, 'up')", "'a' | round", "1.5 | round | int"),
        *("[1, 2, 3] | sum", "[[1], [2]] | sum(start=[])", "['a'] | sum", "nothing | sum"),
        *("messages | sum(attribute='n', start=2)", "messages | map(attribute='n') | sum"),
        *("range(7) | slice(3) | list", "range(7) | slice(3, 'x') | list", "[] | slice(0) | list"),
        *("range(7) | batch(3) | list", "range(7) | map('string') | batch(4, '-') | list"),
        *("'a b, c-d é' | wordcount", "7 | wordcount", "messages[0].copy()", "[1, 2].copy()"),
        *("dict.fromkeys(['a', 1])", "dict([('a', 1), [2, 3]])", "dict({'a': 1}, b=2)"),
        *("dict(['ab'])", "dict([1])", "dict(nothing)", "namespace([['a', 1]]).a", "{none: 1}"),
        *("'batch' is filter", "'lipsum' is filter", "'odd' is test", "'x' is filter"),
        *("5()", "[1]()", "nothing()", "'a' in messages[0].keys()", "messages[0].items() | list"),
        *("range(5) | map('string') | map('upper') | reverse | join", "-5", "+5", "-'a'"),
        *("range(9) | select('odd') | map('string') | list | first", "cycler()", "[joiner()()]"),
        *("('<' | e) + '<'", "'<b>' | safe | upper", "'%s' % ('<' | e)", "1 in range(9) | list"),
        "namespace(j=joiner(' | '), c=cycler(1, 2)) | string | length > 0",
    ],
)
def test_expressions_mean_what_they_mean_in_transformers(expression: str) -> None:
    """Those that the families do not use as well."""
    messages = [user(n=1), assistant(n=2)]
    template = "{{ " + expression + " }}"
    assert ours(template, messages, {}) == theirs(template, messages, {})


def test_joiners_and_cyclers_go_on() -> None:
    """Each remembers where it is."""
    template = (
        "{% set j = joiner('|') %}{% set c = cycler('a', 'b', 'c') %}{% for m in messages %}"
        "{{ j() }}{{ c.current }}{{ c.next() }}{% endfor %}{{ c.reset() }}{{ c.next() }}"
    )
    messages = [user(), assistant(), user(), assistant()]
    assert ours(template, messages, {}) == theirs(template, messages, {})
    assert ours(template, messages, {}) == "text: aa|bb|cc|aaNonea"


def test_every_family_renders_an_ordinary_conversation() -> None:
    """So that parity is not one of failures."""
    for template in TEMPLATES.values():
        assert ours(template, *SHAPES["turns"]).startswith("text: ")
