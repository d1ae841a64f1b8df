"""Damaged datagrams: none escapes, none takes long, none is remembered."""

from hypothesis import given
from hypothesis import strategies as st

from ops.bench.osc_fuzz import GROWTH_MB, WORST_MS, fuzz, message
from sources.inbox import Message, Unread
from sources.osc.datagram import Datagrams


def test_mutants_are_refused_or_read_and_never_raise():
    output = []
    escapes, slowest_ms, growth_mb = fuzz(30_000, seed=7, report=output.append)

    assert escapes == 0, output
    assert slowest_ms <= WORST_MS
    assert growth_mb < GROWTH_MB


@given(st.binary(max_size=200) | st.binary(max_size=64).map(lambda x: b"#bundle\0" + x))
def test_any_bytes_are_something(data):
    for item in Datagrams().decode(data, 1.0):
        assert isinstance(item, Message | Unread)


@given(
    st.text("/abcxyz 0123[]", min_size=1, max_size=20),
    st.text("ifshbdtTFNI[]", max_size=12),
    st.binary(max_size=100),
)
def test_any_arguments_under_a_sound_header_are_something(address, tags, arguments):
    (item,) = Datagrams().decode(message("/" + address, tags, arguments), 1.0)
    if isinstance(item, Message):
        values = item.value if isinstance(item.value, tuple) else (item.value,)
        assert all(isinstance(v, float | str) for v in values)
