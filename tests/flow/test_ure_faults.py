from ops.bench.ure_faults import measure, verdicts
from ops.fakes.ure import RESET

HUNG_TICKS = 300
"""Ceiling of an interval (ticks): a minute; `ops.bench.ure_faults` has the figure."""


def test_a_live_flow_falls_back_at_the_first_stale_tick_and_returns(tmp_path):
    found, run = measure(tmp_path, [RESET], seconds=3.0)
    ((mode, _, p99, _, failover, pulls, back, _),) = verdicts(tmp_path, found)

    account = run["account"]["by_source"]["ure"]
    assert mode == RESET
    assert failover == "+0"
    assert float(pulls) <= 2.0
    assert 1.0 <= float(back) <= 1.5
    assert float(p99) < HUNG_TICKS
    assert run["balanced"]
    assert 4 <= account["rejected"] <= 7
    assert account["used"] + account["rejected"] == account["received"]
