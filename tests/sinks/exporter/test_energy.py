"""Energy by RAPL and by statement, cost and heat, over a tree of files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from configs.load import load
from configs.outputs import EnergyConfig
from operators.errors import LumenError
from ops.cli.state_client import EnergyView
from ops.cli.terminal_view import _energy
from sinks.exporter.energy import EVERY_S, EnergyMeter, Package, package_joules
from sinks.exporter.metrics import MetricsPage
from sinks.exporter.metrics_text import MetricsText
from tests.support.shown import Time, config
from tests.support.sysfs import Machine

STATED = EnergyConfig(watts_per_core=15.0, price_per_kwh=160.0, currency="KRW")


class Clocks:
    """Monotonic time and CPU time of a process."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0

    def pass_by(self, seconds: float, cpu_s: float) -> None:
        self.now += seconds
        self.cpu += cpu_s


def meter(machine: Machine, clocks: Clocks, given: EnergyConfig = STATED) -> EnergyMeter:
    return EnergyMeter(given, machine.root, lambda: clocks.now, lambda: clocks.cpu)


def page(made: EnergyMeter) -> dict[tuple[str, ...], float]:
    text = MetricsText().text(made.metrics()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_run_has_its_share_of_the_packages(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path, packages=2), Clocks()
    made = meter(machine, clocks)
    clocks.pass_by(10.0, 2.0)
    machine.run(8.0, 300.0, 100.0)
    found = page(made)
    assert found["fusion_energy_joules_total", "rapl"] == pytest.approx(400.0 * 2 / 8)
    assert found["fusion_cost_total", "KRW"] == pytest.approx(100.0 / 3.6e6 * 160)
    assert found[("process_cpu_seconds_total",)] == 2.0
    power = made.power()
    assert power is not None
    assert (power.watts, power.source) == (pytest.approx(10.0), "rapl")


def test_no_more_than_all_of_it(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path, packages=1), Clocks()
    made = meter(machine, clocks)
    clocks.pass_by(10.0, 9.0)
    machine.run(8.0, 300.0)
    assert page(made)["fusion_energy_joules_total", "rapl"] == pytest.approx(300.0)


def test_a_counter_that_begins_anew(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path, packages=1, range_uj=1_000_000_000), Clocks()
    machine.run(0.0, 900.0)
    made = meter(machine, clocks)
    for _ in range(50):
        clocks.pass_by(EVERY_S, 1.0)
        machine.run(2.0, 300.0)
        made.sample()
    assert made.joules == {"rapl": pytest.approx(50 * 150.0)}


@given(st.integers(1, 10**12), st.data())
def test_one_wrap_around_is_exact(range_uj: int, data: st.DataObject) -> None:
    before = data.draw(st.integers(0, range_uj - 1))
    moved = data.draw(st.integers(0, range_uj - 1))
    after = Package((before + moved) % range_uj, range_uj)
    assert package_joules(Package(before, range_uj), after) == pytest.approx(moved / 1e6)


@pytest.mark.parametrize("limit", [0, 5])
def test_a_counter_that_runs_back_without_a_known_range_adds_nothing(limit: int) -> None:
    assert package_joules(Package(100, limit), Package(7, limit)) == 0.0


def test_without_rapl_it_is_stated(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path), Clocks()
    made = meter(machine, clocks)
    assert page(made)["fusion_energy_joules_total", "stated"] == 0.0
    clocks.pass_by(EVERY_S, 2.0)
    assert page(made)["fusion_energy_joules_total", "stated"] == pytest.approx(30.0)
    assert ("fusion_temperature_celsius", "x") not in page(made)
    power = made.power()
    assert power is not None
    assert (power.source, power.watts) == ("stated", pytest.approx(6.0))
    assert power.cost_per_h == pytest.approx(6.0 / 1000 * 160)


def test_without_either_there_is_no_series(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path), Clocks()
    made = meter(machine, clocks, EnergyConfig(price_per_kwh=160.0, currency="KRW"))
    clocks.pass_by(60.0, 30.0)
    assert page(made) == {("process_cpu_seconds_total",): 30.0}
    assert made.power() is None


def test_packages_that_root_alone_may_read_are_not_there(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path, packages=1), Clocks()
    machine.put("sys/class/powercap/intel-rapl:0/energy_uj", "not a number\n")
    made = meter(machine, clocks)
    clocks.pass_by(EVERY_S, 1.0)
    assert list(made.joules) == ["stated"]


def test_packages_that_go_are_followed_by_the_statement(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path, packages=1), Clocks()
    made = meter(machine, clocks)
    clocks.pass_by(EVERY_S, 1.0)
    machine.run(1.0, 40.0)
    made.sample()
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    for _ in range(2):
        clocks.pass_by(EVERY_S, 1.0)
        made.sample()
    assert made.joules == {"rapl": pytest.approx(40.0), "stated": pytest.approx(30.0)}
    power = made.power()
    assert power is not None and power.source == "stated"


def test_an_interval_without_busy_time_waits_for_the_next(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path, packages=1), Clocks()
    made = meter(machine, clocks)
    clocks.pass_by(EVERY_S, 0.001)
    machine.run(0.0, 40.0)
    made.sample()
    assert made.joules == {"rapl": 0.0}
    clocks.pass_by(EVERY_S, 0.999)
    machine.run(2.0, 40.0)
    made.sample()
    assert made.joules == {"rapl": pytest.approx(80.0 / 2)}


def test_many_short_looks_add_up_as_one_long_one(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path), Clocks()
    often, seldom = meter(machine, clocks), meter(machine, clocks)
    for step in range(1, 101):
        clocks.pass_by(1.0, 0.25)
        often.sample()
        if step % 20 == 0:
            seldom.sample()
    assert often.joules == seldom.joules == {"stated": pytest.approx(375.0)}


def test_sensors_have_names_of_their_own(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path), Clocks()
    machine.sensor("hwmon0", 1, "coretemp", "Package id 0", "71000")
    machine.sensor("hwmon0", 2, "coretemp", None, "70500")
    machine.sensor("hwmon1", 1, "nvme", "Composite", "40850")
    machine.sensor("hwmon2", 1, "nvme", "Composite", "41850")
    machine.sensor("hwmon3", 1, "broken", None, "-")
    machine.put("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    machine.put("sys/class/thermal/thermal_zone0/temp", "99000\n")
    assert meter(machine, clocks).temperatures() == [
        ("coretemp/Package id 0", 71.0), ("coretemp/temp2", 70.5),
        ("nvme/Composite", 40.85), ("nvme/Composite hwmon2", 41.85),
    ]  # fmt: skip


def test_thermal_zones_where_there_is_no_hwmon(tmp_path: Path) -> None:
    machine, clocks = Machine(tmp_path), Clocks()
    machine.put("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    machine.put("sys/class/thermal/thermal_zone0/temp", "48312\n")
    assert page(meter(machine, clocks))["fusion_temperature_celsius", "cpu-thermal"] == 48.312


def test_the_page_and_the_state_of_a_run_have_it(tmp_path: Path) -> None:
    time = Time()
    board = time.board(of=replace(config(), energy=STATED))
    text = MetricsPage(board).text().decode()
    series = [line for line in text.splitlines() if line.startswith("fusion_energy_joules_total")]
    assert len(series) == 1 and 'rig="' not in series[0]
    assert "\nprocess_cpu_seconds_total " in text


def test_a_run_without_it_has_no_series() -> None:
    text = MetricsPage(Time().board()).text().decode()
    assert "energy" not in text and "process_cpu" not in text


def shown(energy: EnergyView | None) -> list[str]:
    return [line.text for line in _energy(energy)]


def test_watts_are_shown_with_their_source() -> None:
    assert shown(None) == []
    assert shown(EnergyView(7.25, 1.16, "KRW", "stated", None)) == [
        "energy: 7.2 W 1.16 KRW an hour (stated)"
    ]
    assert shown(EnergyView(7.25, None, None, "rapl", 71.4)) == [
        "energy: 7.2 W (rapl)  hottest sensor 71 °C"
    ]
    assert "no source" in shown(EnergyView(None, None, None, None, None))[0]


@pytest.mark.parametrize(
    ("energy", "fault"),
    [
        ("{watts_per_core: 0}", "7:"),
        ("{price_per_kwh: 160}", "7:10: 'price_per_kwh' without 'currency'"),
        ("{currency: KRW}", "7:10: 'currency' without 'price_per_kwh'"),
        ("{price_per_kwh: 160, currency: won}", "expected a currency of three capital letters"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path: Path, energy: str, fault: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "version: 2\n"
        "streams: [{name: a, type: osc, addr: '127.0.0.1:9000'}]\n"
        "signals:\n  s: {members: {'a:/x': {}}}\n"
        "failover: {fallback: sensors_only}\n"
        f"exporter: {{}}\nenergy: {energy}\n"
    )
    with pytest.raises(LumenError) as raised:
        load(path)
    assert any(fault in line for line in raised.value.lines())


def test_energy_without_an_exporter_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "version: 2\n"
        "streams: [{name: a, type: osc, addr: '127.0.0.1:9000'}]\n"
        "signals:\n  s: {members: {'a:/x': {}}}\n"
        "failover: {fallback: sensors_only}\n"
        "energy: {watts_per_core: 15}\n"
    )
    with pytest.raises(LumenError) as raised:
        load(path)
    assert "6:1: 'energy' without 'exporter'" in "\n".join(raised.value.lines())


def test_readers_at_once_count_nothing_twice(tmp_path: Path) -> None:
    board = Time().board(of=replace(config(), energy=STATED))
    machine, clocks = Machine(tmp_path), Clocks()
    board.energy = meter(machine, clocks)
    clocks.pass_by(EVERY_S, 2.0)
    made = MetricsPage(board)
    threads = [threading.Thread(target=made.text) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert board.energy.joules == {"stated": pytest.approx(30.0)}
