"""Chat templates: rendered as their makers meant, system texts kept, bad ones refused."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import ggufs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokal.engine.chat import Message, render, render_keeping_system
from lokal.errors import LoadError, RefusedError

# Written after the shapes that Mistral's models have used over time.
V1 = ggufs.RAISING_TEMPLATE  # 7B v0.1, v0.2, Mixtral: raises on a system message
V3 = (  # 7B v0.3, Nemo: the system text goes into the last user turn
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}"
    "{{- bos_token }}{%- for m in rest %}{%- if m['role'] == 'user' %}"
    "{%- if loop.last and system is defined %}{{- '[INST] ' + system + '\\n\\n' + m['content'] + "
    "'[/INST]' }}{%- else %}{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}"
    "{%- else %}{{- ' ' + m['content'] + eos_token }}{%- endif %}{%- endfor %}"
)
V7 = (  # Small 24B: a system block of its own, and a default text for it
    "{{- bos_token }}{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}"
    "{%- set rest = messages[1:] %}{%- else %}{%- set system = 'Be Mistral.' %}"
    "{%- set rest = messages %}{%- endif %}"
    "{{- '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}{%- for m in rest %}"
    "{%- if m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}"
    "{%- else %}{{- m.content + eos_token }}{%- endif %}{%- endfor %}"
)
DEAF = (  # skips every role that it does not know
    "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}{% endif %}"
    "{% if m.role == 'assistant' %}<a>{{ m.content }}{% endif %}{% endfor %}"
)

SYSTEM: Message = {"role": "system", "content": "Be brief."}
ASK: Message = {"role": "user", "content": "Hi"}
TURNS: list[Message] = [
    ASK,
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]


def chat(template: str, *messages: Message, **kwargs: Any) -> str:
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return render_keeping_system(template, messages, **tokens, **kwargs).text


@pytest.mark.parametrize(
    ("template", "messages", "expected"),
    [
        (V1, [ASK], "<s>[INST] Hi [/INST]"),
        (V1, TURNS, "<s>[INST] Hi [/INST]Hello</s>[INST] Bye [/INST]"),
        (V1, [SYSTEM, ASK], "<s>[INST] Be brief.\n\nHi [/INST]"),
        (V1, [SYSTEM, *TURNS], "<s>[INST] Be brief.\n\nHi [/INST]Hello</s>[INST] Bye [/INST]"),
        (V3, TURNS, "<s>[INST] Hi[/INST] Hello</s>[INST] Bye[/INST]"),
        (V3, [SYSTEM, ASK], "<s>[INST] Be brief.\n\nHi[/INST]"),
        (V3, [SYSTEM, *TURNS], "<s>[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nBye[/INST]"),
        (V7, [ASK], "<s>[SYSTEM_PROMPT]Be Mistral.[/SYSTEM_PROMPT][INST]Hi[/INST]"),
        (V7, [SYSTEM, ASK], "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]"),
        (DEAF, [SYSTEM, *TURNS], "<u>Be brief.\n\nHi<a>Hello<u>Bye"),
        (DEAF, [*TURNS, SYSTEM], "<u>Be brief.\n\nHi<a>Hello<u>Bye"),
        (DEAF, [SYSTEM], "<u>Be brief."),
        (V1, [SYSTEM, SYSTEM, ASK], "<s>[INST] Be brief.\n\nBe brief.\n\nHi [/INST]"),
        (V3, [SYSTEM, SYSTEM, ASK], "<s> Be brief.</s>[INST] Be brief.\n\nHi[/INST]"),
    ],
)
def test_conversations_read_as_the_model_was_trained(
    template: str, messages: list[Message], expected: str
) -> None:
    """Turns and system text stand where each format wants them."""
    assert chat(template, *messages) == expected


@given(st.text("INST the[]", min_size=1, max_size=3), st.sampled_from([V1, V3, V7, DEAF]))
def test_a_system_text_is_never_lost(system: str, template: str) -> None:
    """Not even one that the rest of the prompt happens to contain."""
    others = [{"role": "user", "content": "[INST] the quick brown fox"}]
    with_it = chat(template, {"role": "system", "content": system}, *others)
    assert len(with_it) >= len("[INST] the quick brown fox" + system)
    assert system in with_it.replace("[INST] the quick brown fox", "", 1)


def test_a_refusal_is_the_template_s_own_words() -> None:
    """Merging the system text does not help where the turns are wrong."""
    with pytest.raises(RefusedError, match="must alternate") as caught:
        chat(V1, SYSTEM, ASK, ASK)
    assert caught.value.exit_code == 2
    with pytest.raises(RefusedError, match="must alternate"):
        chat(V1, ASK, ASK)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # As transformers does it, unlike Jinja's own tojson: no HTML escapes, no \u escapes.
        ("{{ {'a': '<é & \\'>'} | tojson }}", '{"a": "<é & \'>"}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ {'b': 1, 'a': 2} | tojson }}", '{"b": 1, "a": 2}'),
        ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        (
            "{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
            "023",
        ),
        ("a{% generation %}b{{ messages[0].content }}{% endgeneration %}c", "abHic"),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),  # trimmed and stripped blocks
        ("{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
        ("{{ tools is none }}{{ add_generation_prompt }}", "TrueTrue"),
        ("{{ nothing }}|", "|"),
        ("<{{ '<b>' }}>", "<<b>>"),  # no HTML escaping
        ("{{ strftime_now(format='%%') }}", "%"),
        ("{{ 0.5 * 1000000000 }}", "500000000.0"),
    ],
)
def test_the_environment_is_the_one_templates_are_written_for(template: str, expected: str) -> None:
    """Filters, tags and spacing are those of transformers."""
    assert chat(template, ASK) == expected


def test_templates_may_ask_for_the_date() -> None:
    """`strftime_now` is what Llama's and Mistral's newer templates print."""
    assert chat("{{ strftime_now('%Y') }}", ASK) in {str(datetime.now().year + n) for n in (0, -1)}


def test_variables_reach_the_template() -> None:
    """Such as a switch for thinking."""
    assert chat("{{ thinking }}", ASK, thinking="on") == "on"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ strftime_now.__globals__['os'].getcwd() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ namespace.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{{ range(10**8) | list }}",
    ],
)
def test_a_hostile_template_gets_nowhere(template: str) -> None:
    """A template comes with the weights: it sees the messages and nothing of this machine."""
    with pytest.raises(LoadError, match="broken"):
        chat(template, ASK)
    assert ASK == {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.format.__globals__ }}",
        "{{ '{0.__globals__}'.format(raise_exception) }}",
        "{{ 'x'|attr('__class__')|attr('__mro__') }}",
    ],
)
def test_what_a_template_may_not_see_is_empty(template: str) -> None:
    """Jinja's sandbox answers some tricks with nothing instead of an error."""
    assert chat(template, ASK) == ""


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ messages[5].content.x }}",
        "{{ 1 / 0 }}",
        "{{ cycler() }}",  # RuntimeError
        "{{ " + "(" * 5000 + " }}",  # RecursionError
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in x %}" * 30 + "{% endfor %}" * 30,  # SyntaxError
        "{{ 'x' | int('y') + messages }}",
        "{{ messages | tojson(indent=messages) }}",
        "{% generation %}",
    ],
)
def test_a_broken_template_is_an_error_in_words(template: str) -> None:
    """Whatever its code raises, the message says whose fault it is and what to do."""
    with pytest.raises(LoadError, match=r"broken: \S") as caught:
        render(template, [ASK], bos_token="", eos_token="")
    assert "--raw" in caught.value.hint


FAMILIES = Path(__file__).with_name("families")
CALL = {
    "id": "a1b2c3d4e",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
CALLING: list[Message] = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "weather", "tool_call_id": "a1b2c3d4e", "content": "-4"},
]


def family(name: str) -> str:
    return (FAMILIES / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in FAMILIES.glob("*.jinja") if path.stem != "constructs")
)
@pytest.mark.parametrize(
    "messages",
    [
        [SYSTEM, ASK],
        [SYSTEM, *TURNS],
        [{"role": "developer", "content": "Be brief."}, *TURNS],
        [SYSTEM, {"role": "system", "content": "Be kind."}, *TURNS],
        [*TURNS[:2], {"role": "system", "content": "Be kind."}, ASK],
        [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *TURNS],
        [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        [SYSTEM],
    ],
)
def test_every_family_shows_every_system_text(name: str, messages: list[Message]) -> None:
    """Wherever it stands, whatever its role is called, and in whatever form it comes."""
    text = chat(family(name), *messages)
    for message in messages:
        if message["role"] in ("system", "developer"):
            content = message["content"]
            assert (content if isinstance(content, str) else content[0]["text"]) in text
    assert text.count("Hi") >= sum("Hi" in str(m["content"]) for m in messages)


@pytest.mark.parametrize(
    "name",
    [
        *("mistral-v3", "mistral-nemo", "mistral-small", "ministral", "devstral", "magistral"),
        *("llama3.1", "deepseek-r1", "deepseek-r1-0528", "qwen2.5", "qwen3", "gpt-oss"),
    ],
)
def test_calls_come_in_the_form_that_a_family_reads(name: str) -> None:
    """OpenAI's own form, with a null content and arguments as text, suits few templates."""
    text = chat(family(name), SYSTEM, *CALLING)
    assert "Be brief." in text
    assert "weather" in text
    assert '"city": "Oslo"' in text
    assert "-4" in text
    assert "None" not in text


def test_words_in_a_system_text_keep_their_meaning() -> None:
    """Asking whether it is shown does not hide a switch that stands in it."""
    off: Message = {"role": "system", "content": "Be brief. /no_think"}
    text = chat(family("smollm3"), off, ASK)
    assert "Be brief." in text
    assert text.endswith("<think>\n\n</think>\n")
    own: Message = {"role": "system", "content": "Be brief. /system_override"}
    assert chat(family("smollm3"), own, ASK).startswith("<|im_start|>system\nBe brief.<|im_end|>")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (  # one system text, in front
            "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
            "{{ raise_exception('only in front') }}{% endif %}<{{ m.role }}>{{ m.content }}"
            "{% endfor %}",
            "<system>Be brief.\n\nBe kind.<user>Hi<user>Bye",
        ),
        (  # parts only
            "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{{ part.text }}"
            "{% endfor %}{% endfor %}",
            "<user>Hi<system>Be brief.<system>Be kind.<user>Bye",
        ),
        (DEAF, "<u>Be brief.\n\nBe kind.\n\nHi<u>Bye"),
    ],
)
def test_system_texts_move_as_little_as_they_must(template: str, expected: str) -> None:
    """They stay, or come to the front, or come into the first user turn."""
    kind: Message = {"role": "system", "content": "Be kind."}
    assert chat(template, ASK, SYSTEM, kind, {"role": "user", "content": "Bye"}) == expected
