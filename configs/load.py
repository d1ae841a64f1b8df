"""Load a configuration file with its rule files and the environment as one checked object.

Nothing starts before all of it is valid. All faults are reported together, each as
`file:line:col: fault, expectation`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from configs import coherence, upgrade
from configs.connectors.kafka import KafkaStream
from configs.connectors.kafka_out import KafkaDestination
from configs.document import BAD, ConfigError, Document, Fault, read
from configs.inert import path_of
from configs.inputs import FileStream
from configs.processes import ClusterConfig
from configs.rulefiles import load_rules
from configs.schema import Config
from configs.shipped import shipped
from configs.typed import convert, expected, fields_of, found, unknown_key
from operators.conditions import Rule, names


@dataclass(frozen=True)
class Loaded:
    """A valid configuration with its rules.

    Attributes
    ----------
    config : Config
    rules : tuple of Rule
        The rules of all rule files, in their order.
    path : str
        Path of the configuration file.
    fingerprint : str
        SHA-256 of the values of the configuration and its rules, with defaults, without
        comments and layout.
    """

    config: Config
    rules: tuple[Rule, ...]
    path: str
    fingerprint: str


def load(path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> Loaded:
    """Load a configuration.

    Raises
    ------
    ConfigError
        With all faults.
    """
    name = shipped(os.fspath(path))
    document = read(name, environ)
    if upgrade.is_old(document):
        raise ConfigError(document.faults + upgrade.answers(document))
    config, faulty = _config(document)
    config = config and _with_paths(config)
    rules: tuple[Rule, ...] = ()
    elsewhere: list[Fault] = []
    if config is not None:
        coherence.check(document, config, faulty)
        if "evidence" not in faulty:
            rules, elsewhere = _rules(document, config, faulty, environ)
    if document.faults or elsewhere or config is None:
        raise ConfigError(document.faults + elsewhere)
    bound = [_of_results(config), rules]
    try:
        values = msgspec.json.encode(bound)
    except UnicodeEncodeError:  # a file name that is not UTF-8
        values = json.dumps(msgspec.to_builtins(bound)).encode()
    return Loaded(config, rules, name, hashlib.sha256(values).hexdigest())


def _of_results(config: Config) -> Config:
    """Return a configuration without what may be added to a run that goes on.

    History, wait for a cluster, topics of Kafka, access to them and discovery are no part of the
    results.
    """
    tap = config.tap and msgspec.structs.replace(config.tap, kafka=None)
    send = [each for each in config.send if not isinstance(each, KafkaDestination)]
    streams = [
        msgspec.structs.replace(s, brokers=[], security=None, group="")
        if isinstance(s, KafkaStream)
        else s
        for s in config.streams
    ]
    return msgspec.structs.replace(
        config,
        store=None,
        tap=tap,
        send=send,
        streams=streams,
        discovery=None,
        cluster=ClusterConfig(),
    )


def _with_paths(config: Config) -> Config:
    """Return a configuration whose paths may name shipped files, and files that are no UTF-8."""
    streams = [
        msgspec.structs.replace(s, path=shipped(path_of(s.path)))
        if isinstance(s, FileStream)
        else s
        for s in config.streams
    ]
    if config.evidence is not None:
        rules = [shipped(path) for path in config.evidence.rules]
        evidence = msgspec.structs.replace(config.evidence, rules=rules)
        config = msgspec.structs.replace(config, evidence=evidence)
    if config.bridge is not None and config.bridge.state_file is not None:
        bridge = msgspec.structs.replace(
            config.bridge, state_file=path_of(config.bridge.state_file)
        )
        config = msgspec.structs.replace(config, bridge=bridge)
    output = msgspec.structs.replace(config.output, dir=path_of(config.output.dir))
    return msgspec.structs.replace(config, streams=streams, output=output)


def _config(document: Document) -> tuple[Config | None, frozenset[str]]:
    """Return the configuration with its sound sections, and the names of the faulty ones."""
    data = document.data
    if not isinstance(data, dict):
        if data is not BAD and not document.faults:
            message = f"the file {found(document, (), data)}, expected a configuration"
            document.fault(document.place(()), message)
        return None, frozenset()
    fields = fields_of(Config)
    sound: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            value = convert(document, (name,), field.type)
            if value is not BAD:
                sound[name] = value
        elif field.required:
            message = f"'{name}' is missing, expected {expected(field.type)}"
            document.fault(document.place(()), message)
    for name in data:
        if name not in fields:
            unknown_key(document, (name,), fields)
    needed: dict[str, Any] = {"version": 2, "streams": [], "signals": {}}
    faulty = frozenset((data.keys() & fields.keys() | needed.keys()) - sound.keys())
    return Config(**(needed | sound)), faulty


def _rules(
    document: Document, config: Config, faulty: frozenset[str], environ: Mapping[str, str]
) -> tuple[tuple[Rule, ...], list[Fault]]:
    readable = None if faulty & {"signals", "facts"} else names(config.plan())
    rules: list[Rule] = []
    faults: list[Fault] = []
    titles: dict[str, str] = {}
    paths = config.evidence.rules[: coherence.MAX_RULE_FILES] if config.evidence else []
    for path in dict.fromkeys(paths):
        if Path(path).is_file():
            more, wrong = load_rules(
                path, readable, titles, environ, bridge=config.bridge is not None
            )
            rules += more
            faults += wrong
    return tuple(rules), faults
