"""Rules over the scraped exporter: a healthy studio, without sensors, and healthy again."""

import pytest
import yaml

from configs.inputs import OscStream, UreStream
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.align import AlignConfig
from ops.monitoring.prometheus import generate
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import MetricsPage
from tests.rules.test_rules import RULES, needs_promtool, promtool, selectors
from tests.support import scraped
from tests.support.signals import START, Source, every, makers, run, studio

SCRAPE_S = 5
GONE_S, BACK_S, END_S = 150, 200, 260
"""When all sensors stop, when they are back, when it ends."""
SILENT = ((float(GONE_S), float(BACK_S)),)
SOURCES = (
    Source(source="ure", key="pulse", rate_hz=20.0),
    Source(source="osc_1", offset_s=-3.2, skew_ppm=87.0, lag_s=0.18, silent=SILENT),
    Source(source="osc_2", rate_hz=31.7, offset_s=7.9, lag_s=-0.2, silent=SILENT),
    *(source for source in scraped.STUDIO if source.key in scraped.URE),
)
CONFIG = Config(
    version=2,
    streams=[
        UreStream(name="ure", metrics_url="http://127.0.0.1:9305/metrics_ure"),
        OscStream(name="osc_1", addr="127.0.0.1:9001"),
        OscStream(name="osc_2", addr="127.0.0.1:9002"),
    ],
    signals={"pulse": SignalConfig(members={
        "ure:pulse": MemberConfig(group="ure"), "osc_1:/pulse": MemberConfig(),
        "osc_2:/pulse": MemberConfig(),
    })},
    facts=[f"ure:{key}" for key in scraped.URE],
)  # fmt: skip

pytestmark = needs_promtool


@pytest.fixture(scope="module")
def series():
    """The values of each series that a rule reads, scrape by scrape, as promtool writes them."""
    read = {selector.name for rule in RULES for selector in selectors(rule.expr)}
    now, scrapes = START, []
    board = LiveState(CONFIG, clock=lambda: now, wall=lambda: now)
    page = MetricsPage(board)
    recording = studio(*SOURCES, seconds=END_S + SCRAPE_S, ticks_s=0.5)
    align = AlignConfig(window_s=20.0, hop_s=5.0, max_lag_s=2.0)
    for packet in run(makers(CONFIG.plan(), 0.2, align=align), every(recording, 997)):
        now = packet.watermark
        board.update([packet])
        if now - START >= SCRAPE_S * len(scrapes):
            lines = [line for line in page.text().decode().splitlines() if line[0] != "#"]
            scrapes.append(dict(line.rsplit(" ", 1) for line in lines))
    samples = {key: [s.get(key, "_") for s in scrapes] for key in set().union(*scrapes)}
    samples = {key: values for key, values in samples.items() if key.partition("{")[0] in read}
    at = 'job="fusion", instance="a"'
    return [
        {"series": f"up{{{at}}}", "values": f"1x{len(scrapes)}"},
        *({"series": key.replace("{", f"{{{at}, ", 1), "values": " ".join(values)}
          for key, values in sorted(samples.items())),
    ]  # fmt: skip


@pytest.fixture
def fires(series, tmp_path):
    """Return a check of the number of firing alerts of a name at a time (s since the start)."""

    def check(*facts):
        test = {
            "rule_files": [str(path) for path in generate.shipped()],
            "evaluation_interval": f"{SCRAPE_S}s",
            "group_eval_order": ["fusion", "ure"],
            "tests": [{
                "interval": f"{SCRAPE_S}s",
                "input_series": series,
                "promql_expr_test": [_asked(*fact) for fact in facts],
            }],
        }  # fmt: skip
        path = tmp_path / "replayed.yml"
        path.write_text(yaml.safe_dump(test), "utf-8")
        promtool("test", "rules", path)

    return check


def _asked(at_s, alert, many, over_s=0):
    expression = f'ALERTS{{alertstate="firing", alertname=~"{alert}"}}'
    if over_s:
        expression = f"count_over_time({expression}[{over_s}s])"
    counted = {"expr": f"count({expression})", "exp_samples": [{"labels": "{}", "value": many}]}
    # Of what should not be, promtool shows what it is.
    none = {"expr": expression, "exp_samples": []}
    return {"eval_time": f"{at_s}s"} | (counted if many else none)


def test_stopped_sensors_fire_within_seconds_and_no_other_alert_does(fires):
    fires(
        (GONE_S - SCRAPE_S, ".*", 0, GONE_S),
        (GONE_S + 15, "FusionFailover", 1),
        (GONE_S + 20, "FusionStreamLoss", 2),
        (BACK_S - SCRAPE_S, ".*", 3, END_S),
        (BACK_S + 10, "FusionStreamLoss", 0),
        (BACK_S + 30, ".*", 0),
        (END_S, ".*", 3, END_S),
    )
