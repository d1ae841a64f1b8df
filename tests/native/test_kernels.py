"""The compiled form of each loop gives the bytes of its Python form, for any input."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.align.coarse_grid import Coarse
from operators.align.lag_trend import CORRECTED, FREE, fitted, motions
from operators.numeric.search import places
from operators.numeric.sinc import TickRun, kernel, weigh
from operators.types import F64
from sinks.files.encode import fused_lines
from sources.rows.rows import DecodedRows
from tests.native.hostile_lines import NUMBERS, decoded, kernel_case, line, text
from tests.sinks.files.test_encode import fused

MANY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32 - 1)
COLUMNS = ("name", "ts", "rx", "value", "stamped", "seq", "line")


# -- numbers and lines ----------------------------------------------------------------------------


def rendered(kernels, numbers: F64) -> bytes:
    codes = np.empty((0, len(numbers)), np.int64)
    return kernels.render(len(numbers), (b"", b"\n"), (0,), numbers[None], codes, ())


def as_json(numbers: F64) -> bytes:
    return msgspec.json.Encoder().encode_lines(numbers.tolist())


@MANY
@given(st.lists(st.floats(allow_infinity=False), max_size=40))
def test_numbers_have_the_digits_of_the_encoder(kernels, numbers):
    x = np.array(numbers, np.float64)
    assert rendered(kernels, x) == as_json(x)


@MANY
@given(SEEDS)
def test_numbers_of_any_bits_have_the_digits_of_the_encoder(kernels, seed):
    x = np.random.default_rng(seed).integers(0, 2**64, 2000, np.uint64).view(np.float64)
    x = x[~np.isinf(x)]
    assert rendered(kernels, x) == as_json(x)


def test_numbers_at_the_borders_have_the_digits_of_the_encoder(kernels):
    powers = np.concatenate(
        [
            2.0 ** np.arange(-1074, 1024),
            [float(f"{digit}e{power}") for digit in (1, 2, 5, 9) for power in range(-323, 308)],
            [9007199254740991.0, 9007199254740992.0, 9007199254740994.0, 0.0],
            np.arange(5000.0),
            np.arange(5000.0) / 1000,
        ]
    )
    x = np.concatenate([powers, np.nextafter(powers, np.inf), np.nextafter(powers, -np.inf)])
    x = x[np.isfinite(x)]
    x = np.concatenate([x, -x])
    assert rendered(kernels, x) == as_json(x)


@pytest.mark.parametrize(("k", "run"), [(0, 1), (1, 1), (7, 3), (300, 1), (300, 5), (2500, 400)])
@pytest.mark.parametrize(("members", "signals"), [(1, 1), (3, 2)])
def test_lines_of_ticks_are_the_same(both, k, run, members, signals):
    for seed in range(5):
        ticks = fused(k, members=members, signals=signals, run=run, seed=seed)
        python, compiled = both(fused_lines, ticks, 'a "rig"\x00\x7f')
        assert compiled == python


def test_rows_may_lie_apart(kernels):
    numbers, codes = np.arange(30.0).reshape(3, 10), np.arange(20).reshape(2, 10) % 2
    pieces, values, texts = (b"", b",", b"\n"), (2, ~1), ((), (b"a", b"b"))
    some = kernels.render(4, pieces, values, numbers[:, 3:7], codes[:, 3:7], texts)
    assert some == b"23.0,b\n24.0,a\n25.0,b\n26.0,a\n"


def test_an_infinite_number_is_refused_in_both_forms(both):
    ticks = fused(5)
    ticks.signals[0].sd[4] = -np.inf
    with pytest.raises(ValueError, match="an infinite number was to be written"):
        both(fused_lines, ticks, "r")


# -- lines of layouts -----------------------------------------------------------------------------


def assert_same_rows(python: list[DecodedRows], compiled: list[DecodedRows]) -> None:
    for one, other in zip(python, compiled, strict=True):
        for name in COLUMNS:
            a, b = getattr(one, name), getattr(other, name)
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes(), name
        assert one.names.channels == other.names.channels
        assert one.names.rigs == other.names.rigs
        assert (one.notes is None) == (other.notes is None)
        assert one.notes is None or one.notes.tolist() == other.notes.tolist()


@MANY
@given(SEEDS, st.sampled_from([0.0, 0.02, 0.3, 1.0]))
def test_rows_of_any_lines_are_the_same(both, seed, harm):
    rng = np.random.default_rng(seed)
    blocks = [text(rng, 80, 0.0), *(text(rng, int(rng.integers(1, 150)), harm) for _ in range(3))]
    assert_same_rows(*both(decoded, blocks))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_read_as_the_parser_reads_it(both, number):
    known = b"".join(line(b"1.5", b"%d.25" % i, 0) + b"\n" for i in range(60))
    known += b"".join(line(b"1.5", b"%d" % i, 1) + b"\n" for i in range(60))
    odd = b"".join(
        line(number, b"2.5", s) + b"\n" + line(b"2.5", number, s) + b"\n" for s in (0, 1)
    )
    assert_same_rows(*both(decoded, [known, known + odd]))


def test_regular_lines_are_read_by_the_extension(kernels):
    piece = (b'{"ts":', b',"value":', b"}\r")
    start, stop, which = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int32)
    columns = np.full((4, 3), np.nan)
    lines = b'{"ts":12.25,"value":-3}\r\n\n\r\n{"ts":1,"value":2}\r\n{"ts":2.5,"value":7}\r\n'
    layouts = ((piece, (0, 1), (True, False)),)
    assert kernels.fit(lines, layouts, start, stop, which, columns) == 3
    assert which.tolist() == [0, -1, 0]
    assert columns[:2, [0, 2]].tolist() == [[12.25, 2.5], [-3.0, 7.0]]
    whole = [lines[a:b] for a, b in zip(start, stop, strict=True)]
    assert whole == [line for line in lines.split(b"\n") if line.strip()]


def test_layouts_that_begin_alike_stay_apart(kernels):
    """Text before a number, its form, the text behind it: each differs alone."""
    layouts = tuple(
        ((before, behind, b"}"), (0, 1), (pointed, False))
        for before in (b'{"ts":', b'{"t":', b"")
        for pointed in (True, False)
        for behind in (b',"rig":"a","value":', b',"rig":"b","value":')
    )
    layouts += (((b"-7.5",), (), ()),)
    lines = [
        b"".join((before, b"%d.5" % n if point else b"%d" % n, behind, b"9", end))
        for n, ((before, behind, end), _, (point, _)) in enumerate(layouts[:-1])
    ]
    lines += [b"-7.5", b'{"ts":1.5,"rig":"c","value":1}', *lines[::-1]]
    n = len(lines)
    start, stop, which = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int32)
    columns = np.full((4, n), np.nan)
    text = b"".join(one + b"\n" for one in lines)
    assert kernels.fit(text, layouts, start, stop, which, columns) == n
    assert which.tolist() == [*range(13), -1, *range(11, -1, -1)]
    first = [k + 0.5 * point for k, (_, _, (point, _)) in enumerate(layouts[:-1])]
    assert columns[0, :12].tolist() == first
    assert columns[0, 14:].tolist() == first[::-1]


# -- sums -----------------------------------------------------------------------------------------


@MANY
@given(SEEDS, st.booleans())
def test_sums_of_kernels_are_the_same(both, seed, waits):
    rng = np.random.default_rng(seed)
    node, cell, value, _, k = kernel_case(rng)
    known = np.sort(rng.integers(0, len(node) + 1, k))
    turn = [0, *np.flatnonzero(rng.random(k - 1) < 0.1) + 1, k]
    kernels = (kernel(2.0, 1.9, 5.0), kernel(1.5, 1.25, 5.0))
    runs = [
        TickRun(a, b, kernels[rng.integers(2)]) for a, b in pairwise(turn) if rng.random() < 0.9
    ]
    python, compiled = both(weigh, runs, node, cell, value, known if waits else None, k)
    assert python.tobytes() == compiled.tobytes()


@MANY
@given(SEEDS, st.sampled_from(["left", "right"]))
def test_places_are_those_of_numpy(both, seed, side):
    rng = np.random.default_rng(seed)
    rising, at = np.sort(rng.integers(0, 50, rng.integers(0, 90)) / 7), rng.integers(-5, 60, 80) / 7
    at[rng.random(80) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    for numbers in (at, np.sort(at)):
        python, compiled = both(places, rising, numbers, side)
        assert python.tolist() == compiled.tolist()


@MANY
@given(SEEDS, st.sampled_from([40, 6000]))
def test_stretches_of_the_coarse_grid_are_the_same(both, seed, most):
    rng = np.random.default_rng(seed)
    pieces = [
        (lane, rng.uniform(-3, 43, n).round(2), rng.standard_normal(n))
        for n in rng.integers(0, most, 12).tolist()
        for lane in range(3)
    ]

    def read() -> list[bytes]:
        coarse = Coarse(5.0, [False, True, False], 2.0)
        out = []
        for first, some in zip((0, 50, 60, 100), (20, 21, 30, 36), strict=True):
            for lane, time, value in pieces[:some]:
                coarse.push(lane, time, value, time + 10 * abs(value - 1))
            out.append(coarse.read(first, 40 if first == 60 else 50 if first == 0 else 10))
            out += [np.array(coarse.noise(lane)) for lane in range(3)]
            out += coarse.snapshot()["parts"]
        return [x.tobytes() for x in out]

    python, compiled = both(read)
    assert python == compiled


@MANY
@given(SEEDS, st.integers(1, 30), st.sampled_from([CORRECTED, FREE]))
def test_trends_of_a_lag_are_the_same(both, seed, count, shares):
    rng = np.random.default_rng(seed)
    at = 1.7e9 + np.cumsum(rng.uniform(0.1, 900, count))
    lag, var = rng.standard_normal(count), 10.0 ** rng.uniform(-12, 15, count)
    python, compiled = both(fitted, at, lag, var, at[-1] + 5.0, motions("auto", *shares))
    assert python[0] == compiled[0]
    assert python[1].tobytes() == compiled[1].tobytes()


# -- wrong arguments ------------------------------------------------------------------------------

NONE = np.empty((0, 2), np.int64)


@pytest.mark.parametrize(
    "arguments",
    [
        (2, (b"",), (0,), np.zeros((1, 2)), NONE, ()),
        (-1, (b"", b""), (0,), np.zeros((1, 2)), NONE, ()),
        (3, (b"", b""), (0,), np.zeros((1, 2)), NONE, ()),
        (2, (b"", b""), (1,), np.zeros((1, 2)), NONE, ()),
        (2, (b"", b""), (-1,), np.zeros((1, 2)), NONE, ()),
        (2, (b"", "x"), (0,), np.zeros((1, 2)), NONE, ()),
        (2, (b"", b""), (0.5,), np.zeros((1, 2)), NONE, ()),
        (2, (b"", b""), (0,), np.zeros((1, 2), np.float32), NONE, ()),
        (2, (b"", b""), (0,), np.zeros((2, 2))[:, ::2], NONE, ()),
        (2, (b"", b""), (0,), np.zeros((2, 2)).T, NONE, ()),
        (2, (b"", b""), (0,), np.zeros(2), NONE, ()),
        (2, (b"", b""), (-1,), np.zeros((1, 2)), np.array([[0, 1]]), ((b"a",),)),
        (2, (b"", b""), (-1,), np.zeros((1, 2)), np.array([[0, -1]]), ((b"a",),)),
        (2, (b"", b""), (-1,), np.zeros((1, 2)), np.array([[0, 0]]), ([b"a"],)),
        (2, (b"", b""), (-1,), np.zeros((1, 2)), np.array([[0, 0]]), (("a",),)),
    ],
)
def test_a_line_of_the_wrong_shape_is_refused(kernels, arguments):
    with pytest.raises((ValueError, TypeError, IndexError, BufferError)):
        kernels.render(*arguments)


@pytest.mark.parametrize(
    "layouts",
    [
        (),
        [],
        ((),),
        (((b"a",), (0,), (True,)),),
        (((b"a", b"b"), (0,), ()),),
        (((b"a", b"b"), (4,), (True,)),),
        (((b"a", b"b"), (-2,), (True,)),),
        (((b"a", 1), (0,), (True,)),),
        (((b"a",) * 18, (0,) * 17, (True,) * 17),),
        (((b"a", b"b"), (0,), (True,)),) * 257,
    ],
)
def test_a_layout_of_the_wrong_shape_is_refused(kernels, layouts):
    start, stop, which = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int32)
    with pytest.raises((ValueError, TypeError)):
        kernels.fit(b"a1b\n", layouts, start, stop, which, np.zeros((4, 3)))


def test_more_lines_than_room_are_refused(kernels):
    layouts = (((b"a", b"b"), (0,), (False,)),)
    start, stop, which = np.empty(2, np.int64), np.empty(2, np.int64), np.empty(2, np.int32)
    with pytest.raises(ValueError, match="more lines than room"):
        kernels.fit(b"a1b\n" * 3, layouts, start, stop, which, np.zeros((4, 2)))
    which.setflags(write=False)
    with pytest.raises((ValueError, BufferError)):
        kernels.fit(b"a1b\n", layouts, start, stop, which, np.zeros((4, 2)))


@pytest.mark.parametrize("wrong", range(10))
def test_cells_of_the_wrong_shape_are_refused(kernels, wrong):
    part, held, edge = np.ones((5, 3)), np.zeros(2, np.int64), np.empty(3, np.int64)
    right = [part, 0, 9, 9, 5, 5, held, edge, np.empty(3), np.empty(3)]
    assert kernels.cells(*right) == 0
    assert (edge.tolist(), right[8][0], right[9][0]) == ([0, 0, 1], (1 + 1) / 5 - 5, 1.0)
    for other in (np.ones((3, 2)), np.ones(4, np.float32), "x", 0.5):
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.cells(*arguments)


def test_rows_of_no_lane_and_cells_without_room_are_refused(kernels):
    held, edge = np.zeros(2, np.int64), np.empty(3, np.int64)
    for lane in (-1.0, 2.0, np.nan):
        part = np.full((5, 1), lane)
        part[1:] = 1.0
        with pytest.raises(ValueError, match="a row of no lane"):
            kernels.cells(part, 0, 9, 9, 5, 5, held, edge, np.empty(1), np.empty(1))
    part = np.ones((5, 2))
    part[1] = (1, 2)
    with pytest.raises(ValueError, match="more cells than room"):
        kernels.cells(part, 0, 9, 9, 5, 5, held, edge, np.empty(1), np.empty(1))


@pytest.mark.parametrize("wrong", range(8))
def test_averages_of_the_wrong_shape_are_refused(kernels, wrong):
    edge, out = np.array([0, 3, 3]), np.empty((2, 5))
    right = [np.ones((4, 2)), 2, np.arange(3.0), np.ones(3), edge, np.ones(2), 0.5, out]
    kernels.fill(*right)
    np.testing.assert_array_equal(out, [[np.nan, 1, np.nan, np.nan, np.nan], [np.nan] * 5])
    for other in (np.ones((3, 2)), np.ones(4, np.float32), "x", None):
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.fill(*arguments)


@pytest.mark.parametrize("edge", [[0, 2, 4], [-1, 2, 3], [2, 1, 3], [4, 4, 4]])
def test_cells_of_no_lane_are_refused(kernels, edge):
    bank, cells, out = np.ones((4, 2)), np.ones(3), np.empty((2, 5))
    with pytest.raises(ValueError, match="a cell of no lane or beyond the grid"):
        kernels.fill(bank, 2, cells, cells, np.array(edge), np.ones(2), 0.5, out)
    for far in (np.nan, np.inf, -1e300):
        with pytest.raises(ValueError, match="a cell of no lane or beyond the grid"):
            kernels.fill(bank, 2, cells * far, cells, np.array([0, 1, 3]), np.ones(2), 0.5, out)


@pytest.mark.parametrize("wrong", range(12))
def test_a_trend_of_the_wrong_shape_is_refused(kernels, wrong):
    readings, kinds = [np.ones(3)] * 3, [np.ones(2)] * 3
    right = [*readings, 1.0, 0.01, *kinds, np.empty((5, 2)), *(np.empty((3, 2)) for _ in range(3))]
    kernels.trend(*right)
    for other in (np.ones((3, 3)), np.ones(3, np.float32), "x", None):
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.trend(*arguments)


RUNS = np.array([[0, 3, 0, 0, 3], [3, 5, 1, 1, 3]])


@pytest.mark.parametrize("wrong", range(9))
def test_sums_of_runs_of_the_wrong_shape_are_refused(kernels, wrong):
    node, ones, bank = np.arange(3), np.ones(3), np.ones((4, 2))
    right = [(bank, bank), 2, RUNS, node, ones, ones, np.arange(5), np.empty(5), np.empty(5)]
    kernels.spread_runs(*right)
    for other in (np.ones((3, 2)), (bank, ones), 0, None if wrong != 6 else "x"):
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.spread_runs(*arguments)


@pytest.mark.parametrize(
    "run",
    [(-1, 3, 0, 0, 3), (4, 3, 0, 0, 3), (0, 6, 0, 0, 3), (0, 3, 2, 0, 3), (0, 3, -1, 0, 3),
     (0, 3, 0, -1, 3), (0, 3, 0, 4, 3), (0, 3, 0, 0, 4)],
)  # fmt: skip
def test_a_run_beyond_its_arrays_is_refused(kernels, run):
    ones, bank = np.ones(3), np.ones((4, 2))
    sums = np.empty(5), np.empty(5)
    with pytest.raises(ValueError, match="exceeds"):
        kernels.spread_runs((bank,), 2, np.array([run]), np.arange(3), ones, ones, None, *sums)


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_a_search_of_the_wrong_shape_is_refused(kernels, wrong):
    right = [np.arange(3.0), np.arange(4.0), True, np.empty(4, np.int64)]
    kernels.search(*right)
    for other in (np.ones(5, np.float32), 0):
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.search(*arguments)
