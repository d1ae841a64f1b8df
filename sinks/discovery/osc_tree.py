"""The OSC address space of a run: its outputs with their newest values, and the keys of one input.

Addresses come from the configuration alone. Values are those of the newest tick, as they are
handed to the senders; an unknown one is absent.

Cost: a walk over the nodes below an address for each question. State: the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from configs.address import endpoint
from configs.inputs import OscStream
from configs.outputs import OscDestination
from configs.schema import Config
from operators.conditions import names
from operators.conditions.expression import Expression, Instruction, compile_expression

NewestValues: TypeAlias = Callable[[], Mapping[str, Mapping[str, float]]]
"""Returns the newest values by destination and address."""
READ, WRITE = 1, 2
"""Bits of ACCESS."""
_ELEMENT = re.compile(r"(?P<address>.+)\[(?P<place>\d+)\]")
_RESERVED = re.compile(r"[#*,?\[\]{} ]")


class OscNode:
    """A method, a container, or both.

    Attributes
    ----------
    contents : dict
        Nodes below this one, by the last part of their addresses.
    destination : str
        Of the newest value; empty without one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.contents: dict[str, OscNode] = {}
        self.access = 0
        self.arguments = 0
        self.description = ""
        self.destination = ""
        self.range: dict[str, float] = {}


class OscTree:
    """The nodes of a run.

    Parameters
    ----------
    config : Config
    newest : callable
    """

    def __init__(self, config: Config, newest: NewestValues) -> None:
        self._newest = newest
        self._nodes = {"/": OscNode("/")}
        self._nodes["/"].description = f"Rig {config.rig}"
        for destination in config.send:
            if isinstance(destination, OscDestination):
                self._add_outputs(destination, names(config.plan()))
        self.input = first_input(config)
        if self.input is not None:
            self._add_input(self.input, config)

    def find(self, path: str) -> OscNode | None:
        """Return the node of an address; a final slash is ignored."""
        return self._nodes.get(path) or self._nodes.get(path.rstrip("/") or "/")

    def described(self, node: OscNode) -> dict[str, Any]:
        """Return all attributes of a node, and those of the nodes below it."""
        found: dict[str, Any] = {"FULL_PATH": node.path, "ACCESS": node.access}
        if node.description:
            found["DESCRIPTION"] = node.description
        if node.access:
            found["TYPE"] = "f" * node.arguments
        if (value := self.value(node)) is not None:
            found["VALUE"] = [value]
        if node.range:
            found["RANGE"] = [node.range]
        if node.contents:
            found["CONTENTS"] = {name: self.described(n) for name, n in node.contents.items()}
        return found

    def value(self, node: OscNode) -> float | None:
        """Return the newest value of a node, None where it is unknown."""
        return self._newest().get(node.destination, {}).get(node.path)

    def _node(self, path: str) -> OscNode:
        """Return the node of an address, made with its containers where it is new."""
        found = self._nodes.get(path)
        if found is None:
            found = self._nodes[path] = OscNode(path)
            parent, _, name = path.rpartition("/")
            self._node(parent or "/").contents[name] = found
        return found

    def _add_outputs(self, destination: OscDestination, readable: tuple[str, ...]) -> None:
        for address, text in destination.map.items():
            node = self._node(address)
            if node.destination:
                continue  # the first destination of an address shows it
            node.access, node.arguments, node.destination = READ, 1, destination.name
            node.description = f"{text} (sent to {destination.name})"
            node.range = range_of(compile_expression(text, readable, logical=False))

    def _add_input(self, stream: OscStream, config: Config) -> None:
        plan = config.plan()
        channels = [*(m.channel for m in plan.members), *plan.facts, *plan.beats]
        keys = [key for source, key in _split(channels) if config.stream_of(source) == stream.name]
        for key in (*keys, *stream.keys):
            element = _ELEMENT.fullmatch(key)
            address = element["address"] if element else key
            if not address.startswith("/") or _RESERVED.search(address) or address == "/":
                continue  # a pattern, or an address that a query cannot name
            node = self._node(address)
            if not node.access & WRITE:
                node.access |= WRITE
                part = f"received by {stream.name}"
                node.description = f"{node.description}; {part}" if node.description else part
            if not node.destination:
                place = int(element["place"]) if element else 0
                node.arguments = max(node.arguments, place + 1)


def first_input(config: Config) -> OscStream | None:
    """Return the input that OSCQuery describes: its HOST_INFO has one address."""
    inputs = (s for s in config.streams if isinstance(s, OscStream))
    return next((s for s in inputs if not endpoint(s.addr).group), None)


def range_of(expression: Expression) -> dict[str, float]:
    """Return the range of values as RANGE has it, known of `clamp(..., low, high)` alone."""
    if expression.steps[-1].op != "clamp":
        return {}
    high, rest = _constant(expression.steps[:-1])
    low, _ = _constant(rest)
    found = {"MIN": low, "MAX": high}
    return {key: bound for key, bound in found.items() if bound is not None}


def _constant(
    steps: tuple[Instruction, ...],
) -> tuple[float | None, tuple[Instruction, ...]]:
    """Return the number that the last steps push, and the steps before; None where it varies."""
    sign = 1.0
    while steps and steps[-1].op == "negative":
        sign, steps = -sign, steps[:-1]
    if steps and steps[-1].op == "number":
        return sign * steps[-1].value, steps[:-1]
    return None, ()


def _split(channels: list[str]) -> list[tuple[str, str]]:
    """Return source and key of channels."""
    parts = [channel.partition(":") for channel in channels]
    return [(source, key) for source, _, key in parts]
