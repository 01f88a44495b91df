"""What is shared and remembered while a chat template is asked for a conversation in many forms."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lokal.engine import template_meter
from lokal.engine.chat import Message, Rendering, render, render_keeping_system
from lokal.errors import LoadError, RefusedError

SECONDS = 2.0
ASK: Message = {"role": "user", "content": "Hi"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
# What has twelve forms.
MANY: list[Message] = [
    ASK,
    SYSTEM,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "-4"},
    {"role": "system", "content": "Be kind."},
]


def chat(template: str, *messages: Message, **variables: Any) -> Rendering:
    return render_keeping_system(template, messages, bos_token="", eos_token="", **variables)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(2) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}Hi",
        "{% for i in range(100000) %}{{ i | string | upper | lower }}{% endfor %}",
        "{% if a %}x{% endif %}" * 4000 + "{% endif %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
        "{{ m(90) }}",
    ],
)
def test_all_forms_of_a_conversation_share_the_time(template: str) -> None:
    """A template that shows no system text is asked many times, and answers each in time."""
    start = time.thread_time()
    with pytest.raises(LoadError):
        chat(template, *MANY, tools=[TOOL])
    assert time.thread_time() - start < SECONDS


def test_wrong_code_is_read_once() -> None:
    """However often it is asked, the answer is the same."""
    template = "{% if a %}x{% endif %}" * 2500 + "{% endif %}"

    def seconds() -> float:
        start = time.thread_time()
        with pytest.raises(LoadError, match="broken: Encountered unknown tag 'endif'"):
            chat(template, *MANY)
        return time.thread_time() - start

    first = seconds()
    assert sum(seconds() for _ in range(5)) < first


def test_only_the_processor_s_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits, or is stopped, does not blame its template."""

    class Slow(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            time.sleep(0.2)
            return super().__getitem__(name)

    monkeypatch.setattr(template_meter, "SECONDS", 0.15)
    template = "{{ messages[0].content }}{% for i in range(1000) %}.{% endfor %}"
    assert render(template, [Slow(ASK)]) == "Hi" + "." * 1000


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ lipsum(2) }}", "'lipsum'"),
        ("{{ 'a b' | urlencode }}", "'urlencode'"),
        ("{{ messages | groupby('role') }}", "'groupby'"),
        ("{{ 'a'.encode() }}", "'encode'"),
        ("{% autoescape true %}{% endautoescape %}", "'autoescape'"),
    ],
)
def test_what_lokal_does_not_allow_is_named(template: str, name: str) -> None:
    """It is no fault of the template, which transformers would render."""
    with pytest.raises(LoadError, match=f"uses {name}, which lokal does not allow") as caught:
        chat(template, ASK)
    assert "--template" in caught.value.hint


def test_what_is_not_allowed_may_stand_where_it_is_not_reached() -> None:
    """Such as beyond a condition, or in the answer to a question that is asked for it."""
    template = "{% if nothing %}{{ 'a' | pprint }}{{ lipsum() }}{% endif %}{{ 'pprint' is filter }}"
    assert chat(template, ASK).text == "True"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ messages[0].content }}", False),
        ("{% if tools %}You have tools.{% endif %}{{ messages[0].content }} weather", False),
        ("{{ tools | tojson }}{{ messages[0].content }}", True),
        ("{% for t in tools or [] %}{{ t.function.name }}{% endfor %}", True),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}{{ tools }}", True),
        (
            "{% if tools and tools[0].function.name != 'weather' %}{{ raise_exception('no') }}"
            "{% endif %}",
            True,
        ),
    ],
)
def test_tools_that_a_template_leaves_out_are_noticed(template: str, shown: bool) -> None:
    """So that somebody can be told, who would wonder why the model never calls one."""
    assert chat(template, ASK, tools=[TOOL]).shows_tools == shown
    assert chat(template, ASK).shows_tools


def test_of_tools_without_names_nobody_can_say() -> None:
    """They count as shown."""
    assert chat(
        "{{ messages[0].content }}", ASK, tools=[{"name": "a"}, {"function": 1}]
    ).shows_tools


def test_a_refusal_is_not_taken_for_wrong_code() -> None:
    """It may be of one form only."""
    with pytest.raises(RefusedError, match="never"):
        chat("{{ raise_exception('never') }}", *MANY)
