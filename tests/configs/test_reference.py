"""REFERENCE.md and the JSON Schema have each key with its meaning; errors show no pattern."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

import msgspec
import yaml

from configs import generate, reference
from configs.schema import Config
from configs.typed import expected, fields_of
from operators.conditions import Rule

STRUCTS = [struct for _, struct in reference._structs(Config, "")] + [Rule]


def test_each_key_has_a_description() -> None:
    assert reference.undescribed() == []


def test_each_plain_key_has_an_example() -> None:
    assert reference.without_example() == []


def test_each_example_fits_its_key() -> None:
    for struct in STRUCTS:
        for key, field in fields_of(struct).items():
            for example in reference._meta(field.type, "examples") or ():
                written = yaml.safe_load(f"- {reference._flow(example)}")[0]
                for value in (example, written):
                    msgspec.convert(value, field.type, strict=not isinstance(example, float))
                assert struct.__name__ and key


def test_the_shipped_reference_is_that_of_the_types() -> None:
    text = generate.REFERENCE.read_text("utf-8")
    assert text == reference.reference(), "run python -m configs.generate"


def test_the_reference_has_each_key_of_each_type() -> None:
    text = reference.reference()
    for struct in STRUCTS:
        for key in fields_of(struct):
            assert f"| `{key}` |" in text, f"{struct.__name__}.{key}"


def test_the_schema_describes_each_key_of_each_type() -> None:
    kinds = generate.config_schema()["$defs"]
    for struct in STRUCTS:
        if struct is Rule:
            continue
        for key, shown in kinds[struct.__name__]["properties"].items():
            tag = struct.__struct_config__.tag_field
            assert key == tag or shown.get("description"), f"{struct.__name__}.{key}"


def patterns(kind: Any) -> list[Any]:
    """Return each annotated type with a pattern within a type."""
    found = [kind] if any(getattr(meta, "pattern", None) for meta in metas(kind)) else []
    return found + [each for part in get_args(kind) for each in patterns(part)]


def metas(kind: Any) -> tuple[Any, ...]:
    return get_args(kind)[1:] if get_origin(kind) is Annotated else ()


def test_each_pattern_is_explained_in_words() -> None:
    for struct in STRUCTS:
        for key, field in fields_of(struct).items():
            for kind in patterns(field.type):
                assert any("expected" in (meta.extra or {}) for meta in metas(kind)), key
                assert "^" not in expected(kind), key
