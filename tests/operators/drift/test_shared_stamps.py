import numpy as np
import pytest

from operators.drift.shared_stamps import SharedStamps


def spread(stamps, size=None):
    """Return when samples were taken, fed in blocks of a size, resumed between them."""
    core, out = SharedStamps(), []
    for i in range(0, len(stamps), size or len(stamps)):
        core = SharedStamps.from_snapshot(core.snapshot())
        part = stamps[i : i + (size or len(stamps))]
        later = core.feed(part)
        out.append(part if later is None else part + later)
    return np.concatenate(out)


@pytest.mark.parametrize("size", [1, 7, 49, 50, 51, 137, None])
def test_samples_of_one_second_are_spread_over_it(size):
    t = 1.73e9 + np.arange(1000) / 50
    found = spread(np.floor(t), size)
    assert np.abs(found - t)[100:].max() < 1e-3
    assert np.array_equal(found[:100], np.floor(t)[:100])


@pytest.mark.parametrize("size", [1, 10, 333])
def test_how_rows_were_cut_changes_nothing(size):
    rng = np.random.default_rng(3)
    t = 1.73e9 + np.sort(rng.uniform(0, 60, 3000))
    stamps = np.floor(t * 10) / 10
    assert np.array_equal(spread(stamps, size), spread(stamps))


def test_a_gap_does_not_draw_samples_out():
    t = 1.73e9 + np.arange(3000) / 50
    kept = (t - t[0] < 20.4) | (t - t[0] > 25.2)
    found = spread(np.floor(t[kept]))
    late = found - t[kept]
    assert np.abs(late[100:1020]).max() < 1e-3
    assert np.abs(late[1020:1120]).max() < 0.3  # nobody knows which samples of the second these are
    assert np.abs(late[1120:]).max() < 1e-3


@pytest.mark.parametrize(
    "stamps",
    [
        np.repeat(1.73e9 + np.cumsum(np.random.default_rng(1).uniform(0.5, 1.5, 40)), 50),
        1.73e9 + np.arange(2000) / 100,
        np.repeat(1.73e9 + np.arange(500.0), 2),
        np.full(100, 7.0),
        np.repeat(np.arange(100.0)[::-1], 10),
        np.array([np.nan, np.inf, -np.inf, 1e300, -1e300] * 8),
    ],
    ids=["off any grid", "none shared", "pairs", "constant", "backwards", "none"],
)
def test_other_stamps_stay(stamps):
    with np.errstate(all="raise"):
        assert np.array_equal(spread(stamps), stamps, equal_nan=True)
