"""A tree of files as Linux shows them in /sys and /proc: packages, sensors, CPU time."""

from __future__ import annotations

from pathlib import Path


class Machine:
    """A machine of files.

    Parameters
    ----------
    root : Path
    packages : int
        Processor packages whose energy is shown.
    range_uj : int
        Value after which their counters begin anew.
    """

    def __init__(self, root: Path, packages: int = 0, range_uj: int = 262_143_328_850) -> None:
        self.root, self.packages, self.range_uj = root, packages, range_uj
        self._busy, self._uj = 0, [0] * packages
        self._powercap = root / "sys/class/powercap"
        for i in range(packages):
            self._zone(f"intel-rapl:{i}", f"package-{i}")
            self._zone(f"intel-rapl:{i}:0", "dram")  # a part of the package
        if packages:
            self._zone("intel-rapl:9", "psys")  # holds the packages
        self.run(0.0)

    def run(self, busy_s: float, *joules: float) -> None:
        """Let CPU time pass on the host, and energy of each package."""
        self._busy += round(busy_s * 100)
        text = f"cpu  {self._busy} 0 0 99999 555 0 0 0 7 0\ncpu0 1 2 3\n"
        self.put("proc/stat", text)
        for i, used in enumerate(joules):
            self._uj[i] = (self._uj[i] + round(used * 1e6)) % self.range_uj
            self.put(f"sys/class/powercap/intel-rapl:{i}/energy_uj", f"{self._uj[i]}\n")

    def put(self, name: str, text: str) -> None:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def sensor(self, device: str, number: int, name: str, label: str | None, text: str) -> None:
        """Add a sensor of hwmon."""
        folder = f"sys/class/hwmon/{device}"
        self.put(f"{folder}/name", f"{name}\n")
        self.put(f"{folder}/temp{number}_input", f"{text}\n")
        if label is not None:
            self.put(f"{folder}/temp{number}_label", f"{label}\n")

    def _zone(self, folder: str, name: str) -> None:
        at = f"sys/class/powercap/{folder}"
        self.put(f"{at}/name", f"{name}\n")
        self.put(f"{at}/energy_uj", "0\n")
        self.put(f"{at}/max_energy_range_uj", f"{self.range_uj}\n")
