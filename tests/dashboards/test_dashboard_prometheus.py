"""No panel without data, asked of a real Prometheus that has the history of a real run.

The pages that a run shows, one every five seconds of its time, become the history up to now. The
shipped rules work on it, only more often, so that nobody has to wait for them.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from string import Template
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from operators.types import MODES
from ops.fakes.monitoring import answers
from ops.fakes.ports import free_port
from ops.monitoring.programs import peer
from ops.monitoring.prometheus.generate import FOLDER
from sinks.exporter.live_state import LiveState
from tests.contract import rich
from tests.dashboards.looked import CHOSEN, DASHBOARDS, Asked, asked
from tests.support import scraped
from tests.support.programs import needs_peers
from tests.support.signals import every, run, studio
from tests.support.waiting import until

pytestmark = needs_peers("prometheus", "promtool")


def pages(step_s: float = 5.0) -> Iterator[tuple[float, str]]:
    """Return the pages of the exporter with their times."""
    recording = studio(*scraped.STUDIO, seconds=rich.SECONDS, seed=3, ticks_s=0.5, rejects=4)
    now, due = 0.0, 0.0
    board = LiveState(
        scraped.config(), clock=lambda: now, wall=lambda: now, played=scraped.played()
    )
    for packet in run(rich.stations(scraped.PLAN), every(recording, 997)):
        now = packet.watermark + 0.05
        board.update([scraped.ticking(packet, now)])
        if now >= due:
            due = now + step_s
            yield now, scraped.shown(board)


def history(end: float) -> Iterator[str]:
    """Return the lines of the pages, scraped, the last of them at `end`; an engine's beside it."""
    shown = list(pages())
    for at, text in shown:
        when = end - shown[-1][0] + at
        for line in text.splitlines():
            if not line.startswith("#"):
                name, own, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
                labels = [f'job="fusion",instance="{CHOSEN["instance"]}"', *([own] if own else [])]
                yield f"{name}{{{','.join(labels)}}} {value} {when:.3f}"
        entropy = scraped.URE["ure_residual_entropy_last"] + 0.01 * math.sin(at)
        yield f'ure_residual_entropy_last{{job="ure",instance="u"}} {entropy} {when:.3f}'
    yield "# EOF"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Return what asks a Prometheus with that history a question, and gives its answer."""
    folder = tmp_path_factory.mktemp("prometheus")
    prometheus, promtool = peer("prometheus"), peer("promtool")
    (folder / "history").write_text("\n".join(history(time.time() - 1)) + "\n")
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "history", folder / "db"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (folder / "rules").mkdir()
    for path in FOLDER.iterdir():
        often = re.sub(r"interval: \w+", "interval: 1s", path.read_text())
        (folder / "rules" / path.name).write_text(often)
    (folder / "prometheus.yml").write_text("rule_files: [rules/*.yml]\n")
    port = free_port()
    process = subprocess.Popen(
        [prometheus, f"--config.file={folder}/prometheus.yml",
         f"--storage.tsdb.path={folder}/db", f"--web.listen-address=127.0.0.1:{port}"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    root = f"http://127.0.0.1:{port}"

    def answer(path, **given):
        with urlopen(f"{root}/api/v1/{path}?{urlencode(given)}", timeout=10) as got:
            return json.loads(got.read())["data"]

    try:
        until(lambda: answers(f"{root}/-/ready"), process=process)
        yield answer
    finally:
        process.terminate()
        process.wait()


def shown(ask, query: Asked) -> bool:
    """Whether a panel shows something, with all that its legend wants to show."""
    now = time.time()
    found = ask("query_range", query=query.expression, start=now - 90, end=now, step=1)["result"]
    return bool(found) and all(query.labels <= series["metric"].keys() for series in found)


def test_every_panel_shows_something(ask):
    empty = asked()

    def all_shown() -> bool:
        empty[:] = [query for query in empty if not shown(ask, query)]
        return not empty

    until(all_shown, lambda: [query.where for query in empty], every_s=0.5)


def test_what_shows_nothing_is_found_out(ask):
    assert shown(ask, Asked("", "fusion_mode", frozenset({"mode"})))
    assert not shown(ask, Asked("", "fusion_mode", frozenset({"channel"})))
    assert not shown(ask, Asked("", 'fusion_mode{mode="fusing"}', frozenset()))


def test_a_lane_shows_the_state_that_is(ask):
    (lane,) = [query for query in asked() if "'Mode'" in query.where]
    now = time.time()
    during = {"start": now - 90, "end": now, "step": 1}
    (numbers,) = ask("query_range", query=lane.expression, **during)["result"]
    modes = {
        (when, str(MODES.index(series["metric"]["mode"])))
        for series in ask("query_range", query="fusion_mode == 1", **during)["result"]
        for when, _ in series["values"]
    }
    assert {tuple(point) for point in numbers["values"]} == modes
    assert len({number for _, number in modes}) > 1


def test_every_choice_has_something_to_choose(ask):
    for dashboard in DASHBOARDS:
        for variable in dashboard["templating"]["list"][1:]:
            query = Template(variable["query"]["query"]).substitute(CHOSEN)
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
            choices = ask(f"label/{label}/values", **{"match[]": selector})
            assert CHOSEN[variable["name"]] in choices, query
