"""The answers of `lumen check` to good configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops import __main__ as lumen
from tests.configs.minimal import BASE

pytestmark = pytest.mark.usefixtures("run_folder")


def test_check_prints_the_latency_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(
        BASE.replace("{}", "{lag_s: 0.25, lag_sd_s: 0.01}")
        + "resample: {target_hz: 10, wait_s: 0.5}\nalign: {max_lag_s: 4}\n",
        "utf-8",
    )

    assert lumen.main(["check", "c.yaml"]) == 0

    stdout = capsys.readouterr().out
    assert stdout.startswith("OK ")
    assert "1.5 s = 15 ticks of 0.1 s: kernel 1 s, wait 0.5 s" in stdout
    assert "with the lags given: 1.75 s = 17.5 ticks" in stdout
    assert "with a lag of 4 s, the largest waited for: 5.5 s = 55 ticks" in stdout
    assert "prior 0.700" in stdout
    assert "lag 0.25 s given, sd 0.01 s" in stdout


def test_check_warns_of_a_lag_without_an_sd(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text(BASE.replace("{}", "{lag_s: 0.25}"), "utf-8")

    assert lumen.main(["check", "c.yaml"]) == 0

    stdout = capsys.readouterr().out
    assert "lag 0.25 s given, sd not given: not compared, no bound (set lag_sd_s)" in stdout


def test_check_reports_that_low_latency_waits_for_no_lag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text(BASE + "resample: {profile: low_latency, target_hz: 50}\n", "utf-8")

    assert lumen.main(["check", "c.yaml"]) == 0

    assert "no lag is waited for" in capsys.readouterr().out


def test_check_warns_of_a_signal_that_is_never_fused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(BASE + "failover: {min_streams: 2}\n", "utf-8")

    assert lumen.main(["check", "c.yaml"]) == 0

    assert "never fused: failover.min_streams is 2, group sensors has 1" in capsys.readouterr().out


def test_check_names_a_member_that_the_keys_of_its_stream_leave_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text(
        "version: 2\nstreams: [{name: s, type: osc, addr: '127.0.0.1:9000', keys: [/accXYZ]}]\n"
        'signals: {p: {members: {"s:/accxyz": {}}}}\n',
        "utf-8",
    )

    assert lumen.main(["check", "c.yaml"]) == 0
    assert (
        "never     s:/accxyz: the keys of stream s leave it out; add /accxyz to them"
        in capsys.readouterr().out
    )
