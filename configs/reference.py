"""REFERENCE.md, made from the config types: each key with meaning, unit, default, bounds, example.

A type's docstring introduces its section; `Meta` of each field has the meaning and the example.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec

from configs.schema import Config
from configs.typed import expected, fields_of
from operators.conditions import Rule

_UNITS = {"_hz": "Hz", "_mb": "MB", "_s": "s"}
"""Units by the ending of a key."""
_HEAD = """\
# Configuration reference

Made from the types by `python -m configs.generate`; do not edit. A configuration is a YAML file;
`lumen check FILE` reports every fault with its line. Keys without a default are required.
`${NAME}` in a value stands for the environment variable.
"""


def reference() -> str:
    """Return the text of REFERENCE.md."""
    sections = [_section(path, struct) for path, struct in _structs(Config, "")]
    return "\n".join((_HEAD, *sections, _section("Rule files: `[]`", Rule)))


def undescribed() -> list[str]:
    """Return the keys without a description, as `Type.key`."""
    return [
        f"{struct.__name__}.{key}"
        for struct in _all_structs()
        for key, field in fields_of(struct).items()
        if not _meta(field.type, "description")
    ]


def without_example() -> list[str]:
    """Return the keys of plain values without an example, as `Type.key`."""
    return [
        f"{struct.__name__}.{key}"
        for struct in _all_structs()
        for key, field in fields_of(struct).items()
        if not _meta(field.type, "examples") and not list(_parts(field.type))
    ]


def _all_structs() -> list[type[msgspec.Struct]]:
    structs = [struct for _, struct in _structs(Config, "")]
    structs.append(Rule)
    return structs


def _structs(struct: type[msgspec.Struct], path: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Yield a type and the types of its keys, each with its path: `signals.<name>.members`."""
    yield f"`{path}`" if path else "Top level", struct
    for key, field in fields_of(struct).items():
        for suffix, part in _parts(field.type):
            tag = part.__struct_config__.tag
            inner = f"{path}.{key}{suffix}".removeprefix(".")
            if tag is None:
                yield from _structs(part, inner)
            else:
                rest = _structs(part, inner)
                name, tagged = next(rest)
                yield f"{name} of type `{tag}`", tagged
                yield from rest


def _parts(kind: Any) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Yield the structs within a type, and the path to them from its key."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield "", kind
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _parts(arguments[0])
    elif origin is list:
        yield from (("[]" + suffix, part) for suffix, part in _parts(arguments[0]))
    elif origin is dict:
        yield from ((".<name>" + suffix, part) for suffix, part in _parts(arguments[1]))
    elif arguments:
        for argument in arguments:
            yield from _parts(argument)


def _section(title: str, struct: type[msgspec.Struct]) -> str:
    lines = [
        f"## {title}\n",
        _text(struct),
        "| key | meaning | unit | expected | default | example |",
    ]
    lines.append("|---|---|---|---|---|---|")
    tag = struct.__struct_config__
    if tag.tag_field:
        lines.append(f"| `{tag.tag_field}` | Type of the entry. | | `{tag.tag}` | required | |")
    lines += [_row(key, field) for key, field in fields_of(struct).items()]
    return "\n".join(lines) + "\n"


def _text(struct: type[msgspec.Struct]) -> str:
    """Return the docstring up to its first heading."""
    lines = (struct.__doc__ or "").strip().splitlines()
    text = "\n".join(line.strip() for line in lines)
    return text.partition("\nAttributes\n")[0].strip() + "\n"


def _row(key: str, field: Any) -> str:
    unit = _meta(field.type, "extra") or {}
    by_ending = next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")
    examples = _meta(field.type, "examples")
    cells = (
        f"`{key}`",
        _meta(field.type, "description") or "",
        unit.get("unit", by_ending),
        expected(field.type),
        _default(field),
        f"`{_flow(examples[0])}`" if examples else "",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None:
        return "none"
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    """Return a value as a configuration has it, in flow style."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _meta(kind: Any, name: str) -> Any:
    """Return an attribute of a key's own `Meta`, the outermost with a value."""
    if get_origin(kind) is not Annotated:
        return None
    found = [value for meta in get_args(kind)[1:] if (value := getattr(meta, name, None))]
    return found[-1] if found else None
