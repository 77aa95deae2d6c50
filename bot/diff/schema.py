"""A chart's ``values.schema.json`` against values: which field breaks which rule, without ever repeating a value.

No reference leaves the schema: a chart from elsewhere must not make the bot fetch anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import referencing
from jsonschema.exceptions import SchemaError, ValidationError
from referencing.exceptions import Unresolvable

Json = Any
_MOST = 50
_NESTED = frozenset({"anyOf", "oneOf", "allOf", "if", "then", "else", "not"})


@dataclass(frozen=True)
class SchemaProblem:
    """One field that the schema refuses. ``field`` is dotted, and empty for the values as a whole."""

    field: str
    text: str


def problems(values: Mapping[str, Json], schema: Mapping[str, Json]) -> list[SchemaProblem]:
    """What the schema refuses, at most fifty. A schema that cannot be used is one problem without a field."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
        validator = kind(dict(schema), registry=referencing.Registry())
        return [problem for problem, _ in zip(_found(validator.iter_errors(values)), range(_MOST), strict=False)]
    except SchemaError as error:
        return [SchemaProblem("", f"the chart's own schema is not valid: {error.message[:200]}")]
    except (Unresolvable, RecursionError) as error:
        return [SchemaProblem("", f"the chart's schema refers to something outside of it: {str(error)[:200]}")]


def _found(errors: Iterator[ValidationError]) -> Iterator[SchemaProblem]:
    for error in errors:
        yield SchemaProblem(".".join(str(part) for part in error.absolute_path), _said(error))


def _said(error: ValidationError) -> str:
    rule, wanted = str(error.validator), error.validator_value
    if rule == "type":
        kinds = wanted if isinstance(wanted, list) else [wanted]
        return f"must be {' or '.join(map(str, kinds))}"
    if rule == "enum" and isinstance(wanted, list):
        return f"must be one of {', '.join(map(str, wanted[:12]))}"
    if rule == "const":
        return f"must be {wanted}"
    if rule == "required" and isinstance(error.instance, Mapping) and isinstance(wanted, list):
        return f"needs {', '.join(str(key) for key in wanted if key not in error.instance)}"
    if rule == "additionalProperties":
        known = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
        extra = [str(key) for key in error.instance if key not in known] if isinstance(error.instance, Mapping) else []
        return f"has keys that the chart does not know: {', '.join(extra[:12])}"
    if rule in _NESTED:
        return f"does not fit the schema's {rule}"
    return f"breaks the rule {rule}: {str(wanted)[:80]}"
