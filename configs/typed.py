"""Conversion of plain data to the config types: every fault with its place and the expectation.

msgspec validates; this module walks the same types, so that one faulty value does not hide the
next, and composes the messages.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Collection, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from configs.document import BAD, MAX_FAULTS, DataPath, Document, one_line, without_password

_SHOWN = 40
_LISTED = 24
_COMPARED = 200
_BASIC = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
_BOUNDS = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}"}


def convert(document: Document, at: DataPath, into: Any) -> Any:
    """Return the data at a path as a type; BAD after a reported fault."""
    data = value_at(document, at)
    try:
        return msgspec.convert(data, into)
    except (msgspec.ValidationError, OverflowError):
        _explain(document, at, data, into)
        return BAD


@cache
def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return msgspec's description of a struct's fields, by key."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def value_at(document: Document, at: DataPath) -> Any:
    """Return the data at a path."""
    data = document.data
    for part in at:
        data = data[part]
    return data


def unknown_key(document: Document, at: DataPath, allowed: Collection[str]) -> None:
    """Report an unknown key, the nearest known one and all known ones."""
    key, where = str(at[-1]), show(at[:-1])
    near = did_you_mean(document, key, sorted(allowed))
    inside = f" in {where}" if where else ""
    message = f"unknown key '{_short(key)}'{inside}{near}, expected {one_of(sorted(allowed))}"
    document.fault(document.key_place(at), message)


def did_you_mean(document: Document, name: str, known: Sequence[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest known name, empty where none is near.

    The search is costly: it covers 200 names, and stops at `MAX_FAULTS`.
    """
    if len(document.faults) >= MAX_FAULTS:
        return ""
    near = difflib.get_close_matches(name[:64], known[:_COMPARED], n=1)
    return f" (did you mean '{_short(near[0])}'?)" if near else ""


def one_of(known: Sequence[str]) -> str:
    """Return the choices as text, the first ones of many."""
    listed = ", ".join(_short(name) for name in known[:_LISTED])
    return f"one of {listed}" + (", ..." if len(known) > _LISTED else "")


def show(at: DataPath) -> str:
    """Return a path as text: `streams[0].name`, `signals.pulse.members["a:b"]`."""
    shown = ""
    for part in at:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif part.isidentifier():
            shown += f".{part}"
        else:
            shown += f'["{_short(part)}"]'
    return shown.removeprefix(".")


def found(document: Document, at: DataPath, value: Any) -> str:
    """Return the found value as text, as written: without values of environment variables."""
    if value is None:
        return "is empty"
    if isinstance(value, dict):
        return "is a mapping"
    if isinstance(value, list):
        return "is a list" if value else "is an empty list"
    written = _short(document.shown(at, value))
    return f"is the text '{written}'" if isinstance(value, str) else f"is {written}"


def expected(kind: Any) -> str:
    """Return the accepted values of a type as text."""
    if get_origin(kind) is Annotated:
        base, *metas = get_args(kind)
        if text := next((meta.extra["expected"] for meta in metas if _stated(meta)), None):
            return str(text)
        bounds = [
            shape.format(f"{bound:g}")
            for meta in metas
            for name, shape in _BOUNDS.items()
            if (bound := getattr(meta, name, None)) is not None
        ]
        longest = next((meta.max_length for meta in metas if meta.max_length), None)
        if longest and expected(base) == "a list":
            least = next((meta.min_length for meta in metas if meta.min_length), None)
            return f"a list of {f'{least} to' if least else 'at most'} {longest}"
        if any(meta.min_length for meta in metas):
            limit = f", at most {longest} characters" if longest else ""
            return f"{expected(base)} that is not empty{limit}"
        return " ".join([expected(base), " and ".join(bounds)]).strip()
    options = _options(kind)
    if options != [kind]:
        return " or ".join(expected(option) for option in options)
    origin = get_origin(kind) or kind
    if origin is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if origin is tuple and get_args(kind)[-1] is not Ellipsis:
        return f"a list of {len(get_args(kind))} values, each {expected(get_args(kind)[0])}"
    if origin in (list, tuple):
        return "a list"
    if origin is dict or _is_struct(origin):
        return "a mapping"
    return _BASIC[origin]


def _stated(meta: Any) -> bool:
    """Whether a type states its expectation itself; each type with a pattern has to."""
    return "expected" in (meta.extra or {})


def _check(document: Document, at: DataPath, value: Any, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError):
        _explain(document, at, value, kind)


def _explain(document: Document, at: DataPath, value: Any, kind: Any) -> None:
    """Report why a value is not of a type, part by part."""
    if value is BAD:
        return
    options = [_bare(option) for option in _options(_bare(kind))]
    structs = [option for option in options if _is_struct(option)]
    if isinstance(value, dict) and structs:
        struct = structs[0] if len(structs) == 1 else _tagged(document, at, value, structs)
        if struct is not None:
            _explain_struct(document, at, value, struct)
        return
    origin = get_origin(options[0]) if len(options) == 1 else None
    lists = [option for option in options if _is_list(option, get_origin(option))]
    before = len(document.faults)
    if origin is dict and isinstance(value, dict):
        for key, item in value.items():
            _check(document, (*at, key), item, get_args(options[0])[1])
    elif isinstance(value, list) and len(lists) == 1:
        for index, item in enumerate(value):
            _check(document, (*at, index), item, get_args(lists[0])[0])
    if len(document.faults) == before and not _has_bad(value):
        message = f"{show(at)} {found(document, at, value)}, expected {expected(kind)}"
        if isinstance(value, int | float) and expected(kind).startswith("text"):
            message += " (in quotes)"
        document.fault(document.place(at), message)


def _explain_struct(document: Document, at: DataPath, value: dict[str, Any], struct: Any) -> None:
    before = len(document.faults)
    fields = fields_of(struct)
    tag = struct.__struct_config__.tag_field
    allowed = {*fields, tag} if tag else set(fields)
    for key, item in value.items():
        if key in fields:
            _check(document, (*at, key), item, fields[key].type)
        elif key not in allowed:
            unknown_key(document, (*at, key), allowed)
    for name, field in fields.items():
        if field.required and name not in value:
            message = f"'{name}' is missing in {show(at)}, expected {expected(field.type)}"
            document.fault(document.place(at), message)
    if len(document.faults) == before and not _has_bad(value):
        # Each part is valid by itself: the type refuses their combination.
        try:
            msgspec.convert(value, struct)
        except (msgspec.ValidationError, OverflowError) as error:
            message = one_line(str(error)).partition(" - at ")[0]
            document.fault(document.place(at), f"{show(at)}: {message}")


def _tagged(document: Document, at: DataPath, value: dict[str, Any], structs: list[Any]) -> Any:
    """Return the struct that the value's tag names."""
    by_tag = {struct.__struct_config__.tag: struct for struct in structs}
    field, kinds = structs[0].__struct_config__.tag_field, sorted(by_tag)
    if field not in value:
        document.fault(
            document.place(at), f"'{field}' is missing in {show(at)}, expected {one_of(kinds)}"
        )
        return None
    tag, where = value[field], (*at, field)
    if isinstance(tag, str) and tag in by_tag:
        return by_tag[tag]
    if tag is not BAD:
        near = did_you_mean(document, tag, kinds) if isinstance(tag, str) else ""
        message = f"{show(where)} {found(document, where, tag)}{near}, expected {one_of(kinds)}"
        document.fault(document.place(where), message)
    return None


def _options(kind: Any) -> list[Any]:
    """Return the members of a union, without None; else the type alone."""
    if get_origin(kind) in (Union, types.UnionType):
        return [option for option in get_args(kind) if option is not type(None)]
    return [kind]


def _bare(kind: Any) -> Any:
    """Return a type without its bounds."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_list(kind: Any, origin: Any) -> bool:
    return origin is list or (origin is tuple and get_args(kind)[-1] is Ellipsis)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _has_bad(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_bad, value.values()))
    if isinstance(value, list):
        return any(map(_has_bad, value))
    return value is BAD


def _short(text: str) -> str:
    text = without_password(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
