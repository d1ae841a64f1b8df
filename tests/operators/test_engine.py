import zlib

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import TestingSink, TestingSource, run_main

from operators.engine import step
from operators.records import Packet
from operators.snapshot import StateRefusedError, decode_state, encode_state


class Counting:
    """Stamps on each packet how many packets its rig has had."""

    def __init__(self, state=None):
        self.n = state["n"] if state else 0

    def update(self, packet: Packet) -> Packet:
        if packet.watermark < 0:
            raise ZeroDivisionError("before the beginning")
        self.n += 1
        return Packet(packet.rig, self.n, packet.end, packet.arrivals)

    def snapshot(self):
        return {"n": self.n}


class Doubling(Counting):
    """Gives each packet twice."""

    def update(self, packet):
        return [super().update(packet), super().update(packet)]


def packet(rig: str, known: float = 0.0) -> Packet:
    return Packet(rig, known, False, np.empty(0))


def run(packets: list[Packet], make=Counting) -> list[tuple[str, float]]:
    flow, out = Dataflow("test"), []
    stream = op.input("in", flow, TestingSource([(p.rig, p) for p in packets], batch_size=2))
    op.output("out", step("count", stream, make, "print", keep=True), TestingSink(out))
    run_main(flow)
    return [(rig, p.watermark) for rig, p in out]


def test_each_rig_has_its_own_state():
    came = run([packet("a"), packet("b"), packet("a"), packet("b"), packet("a")])
    assert [n for rig, n in came if rig == "a"] == [1, 2, 3]
    assert [n for rig, n in came if rig == "b"] == [1, 2]


def test_a_station_may_return_several_packets():
    assert run([packet("a"), packet("a")], Doubling) == [("a", n) for n in (1, 2, 3, 4)]


def test_a_bug_stops_the_flow_and_names_station_and_rig():
    with pytest.raises(BytewaxRuntimeError) as caught:
        run([packet("a"), packet("b", -1.0)])
    messages, cause = [], caught.value
    while cause is not None:
        messages.append(str(cause))
        cause = cause.__cause__
    assert "station count, rig 'b': ZeroDivisionError: before the beginning" in messages


STATE = {
    "text": "é",
    "none": None,
    "numbers": [1, -2.5, True, float("inf")],
    "deep": {"b": b"\x00\xff"},
    "by": {"1": [1.0]},
}


def test_plain_values_survive_encoding():
    assert decode_state(encode_state(STATE, "drift", "f"), "drift", "f") == STATE


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.array([np.nan, -0.0, np.inf]),
        np.array([True, False]),
        np.empty((0, 4), np.int32),
        np.array(2.5),
        np.arange(10.0)[::3],
    ],
    ids=["2-d", "special", "bool", "empty", "0-d", "strided"],
)
def test_arrays_survive_encoding_and_are_writable(array):
    back = decode_state(encode_state({"a": [array]}, "drift", "f"), "drift", "f")["a"][0]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    back.fill(0)


def test_numbers_of_numpy_are_plain_numbers():
    state = decode_state(encode_state({"x": np.float64(0.1), "n": np.int64(3)}, "s", "f"), "s", "f")
    assert state == {"x": 0.1, "n": 3}
    assert type(state["x"]) is float


def test_an_object_in_a_state_is_refused_on_encoding():
    for value in (object(), np.array(["text"]), np.array([None], dtype=object)):
        with pytest.raises(TypeError, match="a state cannot hold"):
            encode_state({"x": value}, "drift", "f")


def test_a_state_of_another_station_is_refused_by_name():
    with pytest.raises(StateRefusedError, match=r"guard: .* another station .drift, not guard"):
        decode_state(encode_state(STATE, "drift", "f"), "guard", "f")


def test_a_state_under_another_configuration_is_refused_by_name():
    with pytest.raises(StateRefusedError, match=r"drift: .* another configuration .old, not new"):
        decode_state(encode_state(STATE, "drift", "old"), "drift", "new")


def test_every_altered_byte_is_noticed():
    stored = encode_state(STATE, "drift", "f")
    for i in range(len(stored)):
        altered = stored[:i] + bytes([stored[i] ^ 1]) + stored[i + 1 :]
        with pytest.raises(StateRefusedError, match="drift: "):
            decode_state(altered, "drift", "f")


def test_a_state_cut_anywhere_is_refused():
    stored = encode_state(STATE, "drift", "f")
    for n in range(len(stored)):
        with pytest.raises(StateRefusedError):
            decode_state(stored[:n], "drift", "f")


@pytest.mark.parametrize("foreign", [None, 5, {"n": 1}, b"", b"\x80\x04K\x07.", "text"])
def test_foreign_bytes_are_refused(foreign):
    with pytest.raises(StateRefusedError, match="not Lumen Fusion's"):
        decode_state(foreign, "drift", "f")


def test_a_state_of_another_format_with_a_valid_checksum_is_refused():
    for body in (b"\x93\x01\xa1s\xa1f", b"\x94\x01\xa5drift\xa1f\xc7\x01\x07\x00", b""):
        stored = b"LUMN" + zlib.crc32(body).to_bytes(4, "big") + body
        with pytest.raises(StateRefusedError, match="cannot be read"):
            decode_state(stored, "drift", "f")
