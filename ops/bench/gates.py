"""The gates: their time beside a real Prometheus, and every fault of a server against GO."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from ops.fakes.gate_history import watched_month
from ops.fakes.ports import free_port
from ops.fakes.prometheus_server import FAULTS, FakePrometheus
from ops.gate.judgement import judge
from ops.monitoring.programs import PeerError

ROUNDS = 40
MAX_S = 2.0
TARGETS = {
    "all answers": lambda question: True,
    "one number": lambda question: question == "min(fusion_store_up)",
    "the alerts": lambda question: question == "rules",
    "covered parts": lambda question: "count_over_time" in question,
}
"""Answers that a fault changes."""


def faults() -> tuple[Counter[str], float]:
    """Return the verdicts under every fault of every target, and the longest answer (s)."""
    found: Counter[str] = Counter()
    longest = 0.0
    with FakePrometheus() as fake:
        for selected in TARGETS.values():
            for fault in FAULTS.values():
                fake.fault, fake.faulty = fault, selected
                begun = time.monotonic()
                found[judge(fake.url, time.time).verdict] += 1
                longest = max(longest, time.monotonic() - begun)
    found[judge(f"http://127.0.0.1:{free_port()}", time.time).verdict] += 1
    return found, longest


def answers(url: str) -> list[float]:
    """Return the times of judgements, after the rules have been evaluated (s)."""
    end = time.monotonic() + 120
    while judge(url, time.time).verdict != "GO":
        if time.monotonic() > end:
            raise TimeoutError("no GO within 120 s")
        time.sleep(0.5)
    times = []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        judge(url, time.time)
        times.append(time.monotonic() - begun)
    return sorted(times)


def main() -> int:
    """Print verdicts and times; return 1 if a fault gave GO or an answer was late."""
    found, longest = faults()
    total = found.total()
    print(f"{total} faults of a Prometheus: " + ", ".join(f"{n} {v}" for v, n in found.items()))
    print(f"longest answer under a fault {longest:.2f} s (a server that holds it back: 5 s)")
    late = False
    try:
        with tempfile.TemporaryDirectory() as name, watched_month(Path(name)) as (url, _):
            times = answers(url)
            median, largest = times[len(times) // 2], times[-1]
            print(f"beside a real Prometheus, {ROUNDS} judgements: median {median:.3f} s,"
                  f" longest {largest:.3f} s")  # fmt: skip
            late = largest > MAX_S
    except PeerError as error:
        print(f"not measured: {error}")
    return int(found["GO"] > 0 or late)


if __name__ == "__main__":
    raise SystemExit(main())
