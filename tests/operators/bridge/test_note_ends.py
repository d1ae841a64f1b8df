"""The end of a MIDI note is an event, and no beat."""

import pytest

from operators.bridge.bridge_config import ReferenceConfig
from operators.bridge.reference import BeatRow, Reference


@pytest.mark.parametrize(
    ("beat", "value", "is_end"),
    [
        ("pad:note/10/36", 0.0, True),
        ("pad:note/10/36", 90.0, False),
        ("pad:cc/1/1", 0.0, False),
        ("osc_1:/beat", 0.0, False),
    ],
)
def test_only_a_note_of_velocity_zero_is_an_end(beat: str, value: float, is_end: bool) -> None:
    row = BeatRow(1.0, 1.0, 0, beat, value, 1.0, 1.0)
    assert Reference(ReferenceConfig(beat=beat)).is_end(row) == is_end
