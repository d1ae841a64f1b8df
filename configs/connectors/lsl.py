"""Configuration of an LSL input."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from configs.forms import Text
from configs.inputs import StreamConfig


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
