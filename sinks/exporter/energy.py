"""Energy, cost and heat of a run.

Of the energy of the processor packages a run has the share of its CPU time:

    joules = package joules * (CPU seconds of the run / busy CPU seconds of the host)

Where the system does not show the packages (RAPL), joules = CPU seconds * `watts_per_core`. Each
interval between two readings has one source, `rapl` or `stated`; without either it is not counted.

Cost: some files of 20 bytes each, at most once in `EVERY_S`. State: one reading. Losses: energy of
an interval in which a counter of a package wraps around twice (above 15 minutes at 250 W).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from configs.outputs import EnergyConfig
from sinks.exporter.metrics_text import Metric, RigSamples, Rows

EnergySource = Literal["rapl", "stated"]
JOULES, COST = "fusion_energy_joules_total", "fusion_cost_total"
CELSIUS, CPU = "fusion_temperature_celsius", "process_cpu_seconds_total"
JOULES_PER_KWH = 3.6e6
EVERY_S = 5.0
"""Least time between two readings (s)."""
RATE_S = 60.0
"""Time over which watts are stated (s)."""
MAX_SENSORS = 64
MAX_PACKAGES = 64
_BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of /proc/stat that are not idle: user, nice, system, irq, softirq, steal."""


class Package(NamedTuple):
    """A processor package: its counter, and the value after which that begins anew (uJ)."""

    uj: int
    range_uj: int


class EnergyReading(NamedTuple):
    """One look at the machine.

    Attributes
    ----------
    at, cpu_s : float
        Monotonic time; CPU time of this process (s).
    busy_s : float or None
        CPU time of the host that was not idle (s).
    packages : dict
        Packages by name; empty without RAPL.
    """

    at: float
    cpu_s: float
    busy_s: float | None
    packages: dict[str, Package]


class PowerNow(NamedTuple):
    """Power over the last minute (W), its cost for an hour if stated, and its source."""

    watts: float
    cost_per_h: float | None
    currency: str | None
    source: EnergySource


def package_joules(before: Package, after: Package) -> float:
    """Return the energy between two readings of a package (J), one wrap-around included."""
    moved = after.uj - before.uj
    if moved < 0:
        moved = moved + after.range_uj if after.range_uj > before.uj else 0
    return moved / 1e6


class EnergyMeter:
    """Adds up the energy of this process.

    Parameters
    ----------
    config : EnergyConfig
    root : Path
        Folder with `sys` and `proc`.
    clock, cpu : callable
        Monotonic time; CPU time of this process (s).
    hertz : float
        Ticks of `/proc/stat` in a second.

    Attributes
    ----------
    joules : dict
        By source.
    """

    def __init__(
        self,
        config: EnergyConfig,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        hertz: float = 100.0,
    ) -> None:
        self._config, self._root = config, root
        self._clock, self._cpu, self._hertz = clock, cpu, hertz
        self.joules: dict[EnergySource, float] = {}
        self._last = self._read()
        if self._last.packages and self._last.busy_s is not None:
            self.joules["rapl"] = 0.0
        elif config.watts_per_core is not None:
            self.joules["stated"] = 0.0
        self._spans: list[tuple[float, float, EnergySource]] = []
        self._heat: tuple[float, list[tuple[str, float]]] | None = None

    def sample(self) -> None:
        """Add the energy since the last reading, if that is old enough."""
        if self._clock() < self._last.at + EVERY_S:
            return
        before, after = self._last, self._read()
        found = self._between(before, after)
        if found is None:
            return  # the next interval begins here too: no CPU time is left out
        self._last = after
        joules, source = found
        if source is None:
            return
        self.joules[source] = self.joules.get(source, 0.0) + joules
        self._spans.append((after.at - before.at, joules, source))
        while sum(span for span, *_ in self._spans[1:]) >= RATE_S:
            del self._spans[0]

    @property
    def cost(self) -> float | None:
        """Cost so far; None without a price."""
        price = self._config.price_per_kwh
        total = sum(self.joules.values())
        return None if price is None or not self.joules else total / JOULES_PER_KWH * price

    def power(self) -> PowerNow | None:
        """Return the power over the last minute; None where nothing is counted."""
        self.sample()
        if not self._spans:
            return None
        source = self._spans[-1][2]
        spans = [span for span in self._spans if span[2] == source]
        watts = sum(joules for _, joules, _ in spans) / sum(seconds for seconds, *_ in spans)
        price = self._config.price_per_kwh
        cost = None if price is None else watts * 3600 / JOULES_PER_KWH * price
        return PowerNow(watts, cost, self._config.currency, source)

    def temperatures(self) -> list[tuple[str, float]]:
        """Return each sensor with its temperature (degrees Celsius)."""
        now = self._clock()
        if self._heat is None or now >= self._heat[0] + EVERY_S:
            self._heat = now, list(islice(_temperatures(self._root), MAX_SENSORS))
        return self._heat[1]

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics; a quantity that the system does not show has none."""
        self.sample()
        yield _metric(CPU, "counter", "CPU time of this process.", (), [((), self._cpu())])
        if self.joules:
            rows: Rows = [((source,), joules) for source, joules in self.joules.items()]
            text = "Energy of this process: its share of RAPL's, or CPU time x watts_per_core."
            yield _metric(JOULES, "counter", text, ("source",), rows)
        if self.cost is not None:
            rows = [((self._config.currency or "",), self.cost)]
            yield _metric(COST, "counter", "Cost of that energy.", ("currency",), rows)
        if heat := self.temperatures():
            rows = [((sensor,), celsius) for sensor, celsius in heat]
            yield _metric(CELSIUS, "gauge", "Temperature of a sensor.", ("sensor",), rows)

    def _between(
        self, before: EnergyReading, after: EnergyReading
    ) -> tuple[float, EnergySource | None] | None:
        """Return joules and source of an interval; None: it is too short to be divided."""
        cpu_s = after.cpu_s - before.cpu_s
        both = before.packages.keys() & after.packages.keys()
        if both and before.busy_s is not None and after.busy_s is not None:
            busy_s = after.busy_s - before.busy_s
            if busy_s <= 0:
                return None
            joules = sum(package_joules(before.packages[p], after.packages[p]) for p in both)
            return joules * min(cpu_s / busy_s, 1.0), "rapl"
        if self._config.watts_per_core is not None:
            return cpu_s * self._config.watts_per_core, "stated"
        return 0.0, None

    def _read(self) -> EnergyReading:
        return EnergyReading(
            self._clock(), self._cpu(), _busy_s(self._root, self._hertz), _packages(self._root)
        )


def _metric(
    name: str, kind: Literal["counter", "gauge"], text: str, labels: tuple[str, ...], rows: Rows
) -> Metric:
    return Metric(name, kind, text, (RigSamples(name, labels, None, rows),))


def _number(path: Path) -> int | None:
    """Return the number in a file of the system; None where there is none."""
    with suppress(OSError, ValueError):
        return int(path.read_text("ascii"))
    return None


def _text(path: Path) -> str:
    """Return the line in a file of the system, empty where there is none."""
    with suppress(OSError, ValueError):
        return path.read_text("ascii").strip()
    return ""


def _packages(root: Path) -> dict[str, Package]:
    """Return the packages that RAPL shows and this user may read.

    A package is a zone of its own; its parts (`core`, `dram`) and the whole machine (`psys`) are
    not added to it.
    """
    found: dict[str, Package] = {}
    for zone in islice(_sorted(root / "sys/class/powercap", "*-rapl:*"), MAX_PACKAGES):
        if not _text(zone / "name").startswith("package-"):
            continue
        joules, limit = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
        if joules is not None:
            found[zone.name] = Package(joules, limit or 0)
    return found


def _busy_s(root: Path, hertz: float) -> float | None:
    """Return the CPU time of the host that was not idle (s); None where it is not shown."""
    with suppress(OSError, ValueError, IndexError):
        with (root / "proc/stat").open(encoding="ascii") as file:
            name, *columns = file.readline().split()
        if name == "cpu":
            return sum(int(columns[i]) for i in _BUSY if i < len(columns)) / hertz
    return None


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    """Yield each sensor of hwmon, else each thermal zone (degrees Celsius)."""
    names: set[str] = set()
    for sensor, path in [*_hardware(root)] or [*_zones(root)]:
        celsius = _number(path)
        if celsius is None:
            continue
        names.add(name := sensor if sensor not in names else f"{sensor} {path.parent.name}")
        yield name, celsius / 1000


def _hardware(root: Path) -> Iterator[tuple[str, Path]]:
    for device in _sorted(root / "sys/class/hwmon", "hwmon*"):
        for path in _sorted(device, "temp*_input"):
            part = path.name.removesuffix("_input")
            label = _text(path.with_name(f"{part}_label")) or part
            yield f"{_text(device / 'name') or device.name}/{label}", path


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    for zone in _sorted(root / "sys/class/thermal", "thermal_zone*"):
        yield _text(zone / "type") or zone.name, zone / "temp"


def _sorted(folder: Path, pattern: str) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(folder.glob(pattern))
