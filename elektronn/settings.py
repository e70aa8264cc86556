"""The frozen, strict base of all settings, and the only file that knows the validation library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

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
        lines = [_sentence(model, place, fault) for fault in error.errors() if _is_meant(model, data, fault["loc"])]
        raise ConfigError("\n".join(lines)) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(_said(place, f"{error}; write sections, lists, numbers and text only")) from None


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as plain data with all defaults filled in."""
    return json.loads(settings.model_dump_json())  # type: ignore[no-any-return]


def schema(model: type[Settings]) -> dict[str, Any]:
    """JSON schema (2020-12) of a settings class, for editors."""
    return model.model_json_schema()


CURES = {
    "int_type": "is not a whole number; write digits only, such as 3",
    "int_from_float": "is not a whole number; write digits only, such as 3",
    "float_type": "is not a number (YAML wants 1.0e-4, not 1e-4)",
    "bool_type": "is neither true nor false",
    "string_type": "is not text; put it in quotes",
    "finite_number": "is not a finite number; write one such as 0.001",
    "tuple_type": "is not a list; write [a, b, …]",
    "list_type": "is not a list; write [a, b, …]",
    "less_than": "is too large; write less than {lt}",
    "too_long": "has {actual_length} entries; write {max_length}",
    "dict_type": "is not a section of key: value lines",
    "model_type": "is not a section of key: value lines",
    "greater_than_equal": "is too small; write {ge} or more",
    "greater_than": "is too small; write more than {gt}",
    "less_than_equal": "is too large; write {le} or less",
    "literal_error": "is not known; write {expected}",
}
"""Kind of fault → what to say behind the given value; names in braces are the limits."""


def _sentence(model: type[Settings], place: str, fault: Any) -> str:
    names, here = _place(model, fault["loc"])
    where = ".".join(part for part in (place, *names) if part)
    given = json.dumps(fault["input"]) if not isinstance(fault["input"], dict | list) else str(fault["input"])
    match fault["type"]:
        case "extra_forbidden":
            section = _place(model, fault["loc"][:-1])[1]
            return _said(where, f"unknown key: {nearest(names[-1], getattr(section, 'model_fields', {}))}")
        case "missing":
            return _said(where, "missing; write a value")
        case "value_error":
            return _said(where, str(fault["ctx"]["error"]))
        case "union_tag_invalid":
            return _said(
                f"{where}.kind", f"unknown kind '{fault['ctx']['tag']}': {nearest(fault['ctx']['tag'], _kinds(here))}"
            )
        case "union_tag_not_found":
            return _said(f"{where}.kind", f"missing; write one of {', '.join(_kinds(here))}")
        case kind if kind in CURES:
            return _said(where, f"{given} {CURES[kind].format(**fault.get('ctx', {}))}")
        case _:
            return _said(where, f"{given}: {fault['msg'][0].lower()}{fault['msg'][1:]}")


def _said(place: str, text: str) -> str:
    return f"{place}: {text}" if place else text


def _place(model: type[Settings], location: tuple[Any, ...]) -> tuple[list[str], Any]:
    """A location in the words of the file, without pydantic's marks of union members, and the type expected there."""
    names: list[str] = []
    here: Any = model
    for part in location:
        here = _bare(here)
        if _is_union(here):
            here = _kinds(here).get(part) or _member(here, str(part))
        else:
            names.append(str(part))
            here = _inside(here, part)
    return names, _bare(here)


def _is_meant(model: type[Settings], data: Any, location: tuple[Any, ...]) -> bool:
    """Whether a complaint is about what was written. Of ``one | a list of them`` pydantic names both: for a list only
    the complaints about its entries count, for anything else only those about a single one."""
    here: Any = model
    for part in location:
        here = _bare(here)
        if _is_union(here):
            if part not in _kinds(here) and isinstance(data, list | tuple) != _is_list(str(part)):
                return False
            here = _kinds(here).get(part) or _member(here, str(part))
        else:
            here = _inside(here, part)
            inside = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
            data = data[part] if inside or (isinstance(data, Mapping) and part in data) else None
    return True


def _is_list(mark: str) -> bool:
    """Whether pydantic's mark of a union member stands for a list."""
    return mark.startswith(("tuple[", "list["))


def _member(union: Any, mark: str) -> Any:
    """The member of ``one | a list of them`` that a mark stands for."""
    return next((m for m in get_args(union) if (get_origin(m) in (tuple, list)) == _is_list(mark)), union)


def _is_union(annotation: Any) -> bool:
    # of two classes Python makes one type of union, of an annotated one another
    return isinstance(annotation, UnionType) or get_origin(annotation) is Union


def _bare(annotation: Any) -> Any:
    """The type without annotations and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    members = [member for member in get_args(annotation) if member is not type(None)]
    return _bare(members[0]) if _is_union(annotation) and len(members) == 1 else annotation


def _inside(annotation: Any, part: Any) -> Any:
    """Type of the entry ``part`` of a section, a mapping or a list."""
    inner = get_args(annotation)
    if get_origin(annotation) is dict:
        return inner[1]
    if get_origin(annotation) in (tuple, list):
        return inner[0] if inner[-1] is Ellipsis or part >= len(inner) else inner[part]
    known = getattr(annotation, "model_fields", {}).get(part)
    return None if known is None else known.annotation


def _kinds(union: Any) -> dict[str, Any]:
    """Name → section of a union whose members say their ``kind``."""
    members = [member for member in get_args(union) if "kind" in getattr(member, "model_fields", {})]
    return {member.model_fields["kind"].default: member for member in members}
