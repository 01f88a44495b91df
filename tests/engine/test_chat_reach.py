"""What a chat template can reach: the conversation, and nothing of this machine."""

from __future__ import annotations

import pytest

from lokal.engine.chat import Message, render
from lokal.errors import LoadError

ASK: Message = {"role": "user", "content": "Hi"}


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
        text = next(w for w in ("broken", "does not allow") if w in error.message)
    assert text in ("broken", "does not allow", "", "[]", "[Undefined]")
    assert messages == [ASK]
