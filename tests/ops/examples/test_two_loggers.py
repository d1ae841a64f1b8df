"""The shipped example finds the clock and lag that its files were made with."""

import numpy as np
import pytest

from ops.examples.two_loggers import LAG_S, NOISE, OFFSET_S, SKEW_PPM, fuse, main, make

SECONDS = 300.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make(tmp_path_factory.mktemp("loggers"), SECONDS)


@pytest.fixture(scope="module")
def found(files):
    return fuse(*files)


def test_lag_skew_and_offset_are_the_true_ones(found):
    _, report = found
    assert abs(report.lag_s - LAG_S) < min(4 * report.lag_sd_s, 0.002)
    assert abs(report.skew_ppm - SKEW_PPM) < min(4 * report.skew_sd_ppm, 0.5)
    # Source time is t (1 + skew) - offset: at the end the offset has fallen by skew * t.
    assert report.offset_s == pytest.approx(OFFSET_S - 1e-6 * SKEW_PPM * SECONDS, abs=1e-3)


def test_the_fused_array_has_ticks_values_and_sds(found):
    table, _ = found
    assert table.shape == (1499, 5)
    assert np.allclose(np.diff(table[:, 0]), 0.2)
    late = table[600:1480]
    assert np.isfinite(late).all()
    assert np.all((late[:, 2] > 0) & (late[:, 2] < NOISE))
    assert np.std(late[:, 3] - late[:, 4]) < NOISE


def test_the_command_prints_a_table(files, capsys):
    assert main([str(path) for path in files]) == 0
    printed = capsys.readouterr().out
    assert "1499 ticks" in printed
    assert " ms" in printed.splitlines()[-1]
