"""Expressions: what they may read, what they cannot do, and that none of them grows or runs on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.expressions import DEEPEST, LONGEST_RESULT, LONGEST_SOURCE, BadExpression, Expression, has_expression

SCOPE: dict[str, Any] = {
    "inputs": {"version": "1.10", "revision": 3},
    "plan": {"no_database": False, "items": ["a", "b"], "values": 7, "text": "x" * 1000},
    "outcomes": {"backup": {"name": "b-1"}},
}


def value(text: str) -> Any:
    return Expression.of(text).value(SCOPE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ plan.no_database }}", False),
        ("{{ not plan.no_database }}", True),
        ("{{ inputs.version }}", "1.10"),  # and not the number 1.1
        ("{{ inputs.revision }}", 3),
        ("{{- inputs.revision -}}", 3),
        ("{{ plan.items }}", ["a", "b"]),  # the key, not the method of a dict
        ("{{ plan.values }}", 7),
        ("{{ plan.items[1] }}", "b"),
        ("{{ plan.items|join(', ') }}", "a, b"),
        ("{{ plan.missing|default('none') }}", "none"),
        ("{{ plan.missing is defined }}", False),
        ("{{ outcomes.backup.name == 'b-1' and inputs.revision > 2 }}", True),
        ("{{ 'a' if plan.no_database else 'b' }}", "b"),
        ("backup {{ outcomes['backup'].name }} of {{ inputs.revision }}", "backup b-1 of 3"),
        ("{{ inputs.revision }}{{ inputs.revision }}", "33"),
        ("{{ '}}' }}", "}}"),
        ("nothing", "nothing"),
    ],
)
def test_an_expression_gives_its_own_type_and_a_text_gives_text(text: str, expected: object) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "text",
    [
        "{{ plan",
        "{{ }}",
        "{{ range(9) }}",
        "{{ lipsum() }}",
        "{{ environment }}",
        "{{ self }}",
        "{{ plan.items.append(1) }}",
        "{{ 'a' * 1000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%9999999d' % 1 }}",
        "{{ plan|tojson }}",
        "{{ plan.items|map('upper') }}",
        "{{ 'x'|center(10000000) }}",
        "{{ {'a': 1} }}",
        "{{ -1 }}",
        "{% for x in plan %}{{ x }}{% endfor %}",
        "{% set x = 1 %}",
        "{% include 'x' %}",
        "{{ plan.items[0:1] }}",
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{{ " + "not " * (DEEPEST + 5) + "plan }}",
        "{{ plan.text }}" * LONGEST_SOURCE,
    ],
)
def test_what_is_more_than_reading_and_comparing_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(BadExpression):
        Expression.of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ plan.missing }}", "there is no 'missing'; there are items, no_database, text, values"),
        ("{{ plan.missing.deeper }}", "there is no 'missing'"),
        ("{{ plan.items.__class__ }}", "there is no '__class__'"),
        ("{{ plan['__class__'] }}", "there is no '__class__'"),
        ("{{ inputs.version > 3 }}", "not supported between"),
        ("{{ inputs.version + 3 }}", "concatenate"),
        ("{{ plan.text|join(plan.text) }}", f"more than {LONGEST_RESULT:,}"),
        ("{{ plan.text }}" * 21, f"more than {LONGEST_RESULT:,}"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(text: str, said: str) -> None:
    with pytest.raises(BadExpression, match=said.replace("(", r"\(")):
        value(text)


def test_a_condition_that_is_only_almost_true_is_refused() -> None:
    with pytest.raises(BadExpression, match="where true or false is needed"):
        Expression.of("{{ 'false' }}").truth(SCOPE)


def test_the_names_that_are_read_are_known_before_anything_runs() -> None:
    found = Expression.of("{{ plan.a and outcomes['b'].c }}").names
    assert found == {("plan", "a"), ("outcomes", "b")}


@given(st.text(alphabet="{}%#()[]'\"|.,+-*/~ abinputsplan_0123456789<>=!:", max_size=60))
def test_any_text_either_gives_json_or_is_refused_in_words(text: str) -> None:
    try:
        found = value(text)
    except BadExpression:
        return
    assert isinstance(found, str | int | float | bool | list | dict | None)


@given(st.text(max_size=80))
def test_a_value_is_never_read_as_an_expression(text: str) -> None:
    scope = {"inputs": {"version": text}}
    assert Expression.of("{{ inputs.version }}").value(scope) == text
    assert Expression.of("v{{ inputs.version }}").value(scope) == f"v{text}"


@given(st.text(max_size=80).filter(lambda text: not has_expression(text)))
def test_a_text_without_an_expression_stays_as_it_is(text: str) -> None:
    assert value(text) == text.replace("\r\n", "\n").replace("\r", "\n")
