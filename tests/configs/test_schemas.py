"""The shipped schemas, and their agreement with the types and the decoder."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from configs import document
from configs.generate import config_schema, event_schema, shipped
from sources.ndjson import Decoder
from sources.rows.names import REJECT, Names

ROOT = Path(__file__).parents[2]


def test_the_shipped_schemas_are_those_of_the_types() -> None:
    for path, text in shipped().items():
        assert path.read_text("utf-8") == text, "run python -m configs.generate"


def test_the_schemas_are_valid_draft_2020_12() -> None:
    for schema in (config_schema(), event_schema()):
        assert schema["$schema"].endswith("/draft/2020-12/schema")
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_default_config_fits_its_schema() -> None:
    text = (ROOT / "configs" / "fusion.yaml").read_text("utf-8")
    data = document.parse(text, "c.yaml", {}).data

    jsonschema.Draft202012Validator(config_schema()).validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(config_schema()).validate(data | {"algin": {}})


EVENT = {"ts": 1730000000.1, "source": "osc_1", "key": "/x", "value": 0.5}


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"value": 3}, True),
        ({"value": -1e300}, True),
        ({"value": "go"}, True),
        ({"value": ""}, True),
        ({"value": [1, 2.5]}, True),
        ({"value": []}, False),
        ({"value": [1, "a"]}, False),
        ({"value": [1, [2]]}, False),
        ({"value": [None]}, False),
        ({"value": True}, False),
        ({"value": None}, False),
        ({"value": {"a": 1}}, False),
        ({"ts": 5}, True),
        ({"ts": -1.5}, True),
        ({"ts": 1e13}, False),
        ({"ts": "1"}, False),
        ({"ts": None}, False),
        ({"source": 5}, False),
        ({"source": "s" * 255}, True),
        ({"source": "s" * 256}, False),
        ({"key": None}, False),
        ({"key": "k" * 300}, False),
        ({"rig": "studio"}, True),
        ({"rig": None}, True),
        ({"rig": ""}, False),
        ({"rig": "../etc"}, False),
        ({"rig": ".hidden"}, False),
        ({"rig": 7}, False),
        ({"meta": {}}, True),
        ({"meta": None}, True),
        ({"meta": {"rx": 1.5, "seq": 7, "unit": "1"}}, True),
        ({"meta": {"rx": None, "seq": None}}, True),
        ({"meta": {"rx": "now"}}, False),
        ({"meta": {"rx": 1e13}}, False),
        ({"meta": {"seq": 1.5}}, False),
        ({"meta": 5}, False),
        ({"more": [1]}, True),
    ],
)
def test_the_event_schema_and_the_decoder_agree(change: dict[str, object], fits: bool) -> None:
    event = EVENT | change
    line = json.dumps(event).encode() + b"\n"

    rows = Decoder("a.ndjson").decode(line, 0, Names("studio"))

    assert (len(rows) > 0 and REJECT not in rows.name) == fits
    assert jsonschema.Draft202012Validator(event_schema()).is_valid(event) == fits


@pytest.mark.parametrize("missing", EVENT)
def test_the_event_schema_and_the_decoder_need_the_same_parts(missing: str) -> None:
    event = {key: part for key, part in EVENT.items() if key != missing}

    rows = Decoder("a.ndjson").decode(json.dumps(event).encode() + b"\n", 0, Names("studio"))

    assert rows.name.tolist() == [REJECT]
    assert not jsonschema.Draft202012Validator(event_schema()).is_valid(event)
