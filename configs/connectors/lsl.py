"""Configuration of an LSL input, and of LSL streams of the results."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from configs.forms import Text
from configs.inert import inert
from configs.inputs import StreamConfig
from configs.outputs import DestinationConfig

SOFTWARE = "lumen-fusion"
"""First part of the identifier of a stream of results."""


class LslStream(StreamConfig, frozen=True, tag="lsl", kw_only=True):
    """A stream of the Lab Streaming Layer; needs the extra `lsl`.

    All of `stream`, `stream_type` and `source_id` that are given have to fit; without any of them
    the stream on the network has the name of this input. A key is the label of a channel, or `ch1`,
    `ch2` and so on. The readings of the sender's clock are the channel `clock_offset`.
    """

    stream: Annotated[
        Text | None,
        Meta(
            description="Name of the stream on the network; by default `name`.",
            examples=["BioSemi"],
        ),
    ] = None
    stream_type: Annotated[
        Text | None, Meta(description="Content type of the stream.", examples=["EEG"])
    ] = None
    source_id: Annotated[
        Text | None,
        Meta(
            description="Identifier of the device, for one of several streams that are alike.",
            examples=["myuid34234"],
        ),
    ] = None

    @property
    def wanted(self) -> dict[str, str]:
        """The properties that a stream must have, by their names in LSL."""
        given = {"name": self.stream, "type": self.stream_type, "source_id": self.source_id}
        return {key: text for key, text in given.items() if text} or {"name": self.name}


class LslDestination(DestinationConfig, frozen=True, tag="lsl", kw_only=True):
    """A stream of the Lab Streaming Layer for the results of each rig; needs the extra `lsl`.

    `<stream>-<rig>` has value and standard deviation of each signal, and the mode, at the time of
    each tick.
    """

    stream: Annotated[
        Text | None,
        Meta(
            description="First part of the names on the network, before `-<rig>`; by default"
            " `name`.",
            examples=["fused"],
        ),
    ] = None
    stream_type: Annotated[
        Text, Meta(description="Content type of the streams.", examples=["Fused"])
    ] = "Fused"

    def stream_name(self, rig: str) -> str:
        """Return the name of a rig's stream."""
        return f"{self.stream or self.name}-{inert(rig)}"

    def source_id(self, rig: str) -> str:
        """Return the identifier of a rig's stream, the same in each run."""
        return f"{SOFTWARE}/{self.name}/{inert(rig)}"

    def sends_to(self, stream: LslStream) -> bool:
        """Whether a stream of some rig may be the one that an input takes."""
        wanted = stream.wanted
        return (
            wanted.get("name", self.stream_name("")).startswith(self.stream_name(""))
            and wanted.get("type", self.stream_type) == self.stream_type
            and wanted.get("source_id", self.source_id("")).startswith(self.source_id(""))
        )
