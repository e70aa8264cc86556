"""The frozen, strict base of all settings, and the only file that knows the validation library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import Field as Field

from elektronn.errors import ConfigError
from elektronn.registry import nearest

checked = pydantic.model_validator(mode="after")
"""Decorator of a method that sees the whole section and raises ValueError with a cure."""

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Triple = tuple[Positive, Positive, Positive]
Flags = tuple[bool, bool, bool]


class Settings(pydantic.BaseModel):
    """Base of every settings section: frozen, unknown keys and other types refused.

    Example:
        >>> class Rate(Settings):
        ...     value: float = 0.1
        >>> parse(Rate, {"valu": 1.0}, "rate")
        Traceback (most recent call last):
        elektronn.errors.ConfigError: rate.valu: unknown key: did you mean 'value'?
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=Settings)


def parse(model: type[S], data: Mapping[str, Any], place: str) -> S:
    """Build ``model`` from plain data (what YAML or JSON gives).

    Args:
        model: the settings class.
        data: nested mappings, lists, numbers, text.
        place: dotted place of ``data`` for messages, such as ``experiments.neuro``; may be empty.

    Raises:
        ConfigError: one line per fault, each with its place and its cure.
    """
    try:
        return model.model_validate_json(json.dumps(data))
    except pydantic.ValidationError as error:
        lines = [_sentence(model, place, fault) for fault in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from None


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as plain data with all defaults filled in."""
    return json.loads(settings.model_dump_json())  # type: ignore[no-any-return]


def schema(model: type[Settings]) -> dict[str, Any]:
    """JSON schema (2020-12) of a settings class, for editors."""
    return model.model_json_schema()


CURES = {
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number (YAML wants 1.0e-4, not 1e-4)",
    "bool_type": "is neither true nor false",
    "string_type": "is not text; put it in quotes",
    "finite_number": "is not a finite number",
    "tuple_type": "is not a list",
    "list_type": "is not a list",
    "dict_type": "is not a section of key: value lines",
    "model_type": "is not a section of key: value lines",
}


def _sentence(model: type[Settings], place: str, fault: Any) -> str:
    where = ".".join(p for p in (place, *map(str, _names(fault["loc"]))) if p)
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key: {nearest(str(fault['loc'][-1]), _keys(model, fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"{where}: missing; write a value"
    if fault["type"] == "value_error":
        return f"{where}: {fault['ctx']['error']}"
    given = json.dumps(fault["input"]) if not isinstance(fault["input"], dict | list) else str(fault["input"])
    cure = CURES.get(fault["type"])
    return f"{where}: {given} {cure}" if cure else f"{where}: {given}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _names(location: tuple[Any, ...]) -> Iterator[Any]:
    """The location without pydantic's own marks for union members."""
    return (part for part in location if not (isinstance(part, str) and ("[" in part or part in _MARKS)))


_MARKS = {"int", "float", "str", "bool"}


def _keys(model: type[Settings], location: tuple[Any, ...]) -> list[str]:
    """Known keys of the (nested) settings class at ``location``."""
    here: Any = model
    for part in location:
        inner = here.model_fields[part].annotation if part in getattr(here, "model_fields", {}) else None
        here = next(_classes(inner), None) if inner is not None else here
        if here is None:
            return []
    return list(getattr(here, "model_fields", {}))


def _classes(annotation: Any) -> Iterator[type[Settings]]:
    """All settings classes inside an annotation such as ``dict[str, Experiment]``."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _classes(argument)
