"""Metrics of the bridge: the names of the specification, and nothing where nothing is known."""

from __future__ import annotations

import urllib.request
from math import nan

import pytest
from prometheus_client.parser import text_string_to_metric_families

from configs.outputs import ExporterConfig
from operators.bridge.bridge_config import BridgeConfig, BridgeExporterConfig
from operators.bridge.protocol import TRANSITIONS
from ops.fakes.ports import free_port
from sinks.conductor.tick_counts import PlayedTicks, TickTotals
from sinks.exporter.bridge_metrics import SCRAPE_S, BridgePage
from sinks.exporter.live_state import LiveState
from sinks.exporter.server import Server, all_served
from sources.osc.udp import listener
from tests.support.bridge_frames import status
from tests.support.shown import config, packet

GAUGES = {
    "bridge_phase_diff_mean", "bridge_sync_quality", "bridge_entropy_ratio", "bridge_tick_seconds",
    "bridge_reference_rate_hertz", "bridge_phase_error_cycles", "bridge_phase_error_sd_cycles",
    "bridge_lock", "bridge_state", "bridge_state_since_timestamp_seconds", "bridge_safety_gain",
    "bridge_hard_stop", "bridge_rollback_ratio_5m", "bridge_residual_stddev_10m", "bridge_gain",
    "bridge_target_met",
}  # fmt: skip
COUNTERS = {
    "bridge_transitions", "bridge_slips", "bridge_steps", "bridge_locks", "bridge_beats",
    "bridge_ticks",
}  # fmt: skip
HISTOGRAMS = {"bridge_tick_jitter_seconds", "bridge_export_scrape_seconds"}
KNOWN = {"phase_sd": 0.004, "entropy_ratio": 0.1, "residual_stddev_10m": 0.01}


class Clock:
    """Seconds that pass by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def board(**known: object) -> LiveState:
    """Return a live state with a status of the bridge."""
    made = LiveState(config(), ("r",), Clock(), Clock())
    made.update([packet(bridge_status=status(10.0, **known))])
    return made


def parsed(text: bytes) -> dict:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def values(text: bytes) -> dict:
    return {
        (sample.name, *(v for k, v in sorted(sample.labels.items()) if k != "rig")): sample.value
        for family in parsed(text).values()
        for sample in family.samples
    }


def test_names_types_and_labels_are_those_of_the_specification() -> None:
    found = parsed(BridgePage(board(**KNOWN)).text())

    kinds = {kind: {n for n, f in found.items() if f.type == kind} for kind in
             ("gauge", "counter", "histogram")}  # fmt: skip
    assert kinds == {"gauge": GAUGES, "counter": COUNTERS, "histogram": HISTOGRAMS}
    assert all(family.documentation.endswith(".") for family in found.values())
    assert all(s.labels["rig"] == "r" for family in found.values() for s in family.samples)
    pairs = {(s.labels["from"], s.labels["to"]) for s in found["bridge_transitions"].samples}
    assert pairs == set(TRANSITIONS)


def test_values_are_those_of_the_newest_status() -> None:
    made = board(**KNOWN)
    made.update([packet(bridge_status=status(11.0, state="E3", hard_stop=True, lock="holdover"))])
    made.update([packet()])
    found = values(BridgePage(made).text())

    assert found["bridge_state", "E3"] == 1
    assert sum(v for (name, *_), v in found.items() if name == "bridge_state") == 1
    assert found["bridge_lock", "holdover"] == 1
    assert found["bridge_hard_stop",] == 1
    assert found["bridge_tick_seconds",] == 0.2
    assert found["bridge_gain", "ki"] == 0.08
    assert found["bridge_beats_total", "outlier"] == 1
    assert found["bridge_transitions_total", "E0", "E1"] == 1
    assert found["bridge_transitions_total", "E3", "E4"] == 0


def test_an_unknown_value_has_no_sample() -> None:
    found = values(BridgePage(board(phase_diff=nan, sync_quality=nan)).text())

    assert found["bridge_target_met", "harmony"] == 1
    names = {name for name, *_ in found}
    assert ("bridge_target_met", "coherence") not in found
    assert not names & {"bridge_phase_diff_mean", "bridge_sync_quality", "bridge_entropy_ratio"}


@pytest.mark.parametrize("at", [None, nan])
def test_before_the_first_control_step_there_is_no_state(at: float | None) -> None:
    made = LiveState(config(), ("r",))
    if at is not None:
        made.update([packet(bridge_status=status(at))])
    names = {name for name, *_ in values(BridgePage(made).text())}

    assert all(name.startswith("bridge_export_scrape") for name in names)


def test_ticks_sent_and_their_jitter_change_without_an_update() -> None:
    played = PlayedTicks()
    played.rig, played.totals = "r", {"music": TickTotals()}
    made = LiveState(config(), ("r",), Clock(), Clock(), played)
    page = BridgePage(made)
    assert values(page.text())["bridge_ticks_total", "music", "sent"] == 0
    played.totals["music"].report(
        b'[{"sent": 5, "withheld": 3, "dropped": 1}, [1, 0, 0, 3, 0, 0, 0, 0, 1], 0.25]\n'
    )
    found = values(page.text())

    assert found["bridge_ticks_total", "music", "sent"] == 5
    assert found["bridge_ticks_total", "music", "dropped"] == 1
    assert found["bridge_tick_jitter_seconds_bucket", "music", "0.0005"] == 1
    assert found["bridge_tick_jitter_seconds_bucket", "music", "0.005"] == 4
    assert found["bridge_tick_jitter_seconds_bucket", "music", "+Inf"] == 5
    assert found["bridge_tick_jitter_seconds_sum", "music"] == 0.25


def test_a_scrape_is_in_the_next_one() -> None:
    page = BridgePage(board())
    page.text()
    found = values(page.text())

    assert found["bridge_export_scrape_seconds_count",] == 1
    assert found["bridge_export_scrape_seconds_bucket", "+Inf"] == 1
    assert [str(edge) for edge in SCRAPE_S] == [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.15", "0.25", "0.5", "1.0"
    ]  # fmt: skip


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture
def serve():
    begun: list[Server] = []

    def made(**sections: object) -> list[Server]:
        given = config(**sections)
        board = LiveState(given, ("r",))
        servers = all_served(given, board, listener)
        for server in servers:
            server.start()
            begun.append(server)
        for server in servers:
            server.consume([packet(bridge_status=status(10.0))])
        assert board.version == 1
        return servers

    yield made
    for server in begun:
        server.stop()


def test_the_exporter_serves_them_beside_its_own(serve) -> None:
    port = free_port()
    serve(exporter=ExporterConfig(http_port=port), bridge=BridgeConfig())

    assert b'bridge_state{rig="r",state="E2"} 1.0' in get(port, "/metrics_bridge")[1]
    assert b"bridge_" not in get(port, "/metrics_fusion")[1]
    assert get(port, "/")[0] == 200


def test_without_a_bridge_there_is_no_such_path(serve) -> None:
    port = free_port()
    serve(exporter=ExporterConfig(http_port=port))

    assert get(port, "/metrics_bridge")[0] == 404


def test_a_port_of_its_own_has_nothing_else(serve, capsys) -> None:
    port = free_port()
    bridge = BridgeConfig(exporter=BridgeExporterConfig(http_port=port, path="/m"))
    serve(bridge=bridge)

    assert b"bridge_state" in get(port, "/m")[1]
    assert get(port, "/healthz") == (200, b"ok\n")
    assert get(port, "/readyz")[0] == 503
    assert {get(port, path)[0] for path in ("/", "/state", "/metrics_fusion", "/page/main.js")} == {
        404
    }
    assert f"metrics at http://127.0.0.1:{port}/m" in capsys.readouterr().err


def test_both_ports_show_one_state(serve) -> None:
    first, second = free_port(), free_port()
    bridge = BridgeConfig(exporter=BridgeExporterConfig(http_port=second))
    serve(exporter=ExporterConfig(http_port=first), bridge=bridge)

    assert b"bridge_state" in get(first, "/metrics_bridge")[1]
    assert b"bridge_state" in get(second, "/metrics_bridge")[1]
