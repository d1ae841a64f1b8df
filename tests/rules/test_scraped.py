from prometheus_client.parser import text_string_to_metric_families

from sinks.exporter import bridge_metrics, energy
from sinks.exporter.metrics import AGE, FAMILIES, LATENESS
from sinks.exporter.store_metrics import NAMES
from tests.support import scraped


def test_the_scrape_has_every_metric_there_is():
    everything = {family.name for family in FAMILIES + bridge_metrics.FAMILIES}
    everything |= {
        AGE,
        bridge_metrics.TICKS,
        energy.JOULES,
        energy.COST,
        energy.CELSIUS,
        energy.CPU,
        *(f"fusion_store_{name}" for name in NAMES),
    }
    histograms = (LATENESS, bridge_metrics.JITTER, bridge_metrics.SCRAPES)
    everything |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    assert everything == scraped.series().keys()


def test_before_the_scrape_there_were_failovers_resets_and_losses():
    happened = {
        (sample.name, *sample.labels.values())
        for family in text_string_to_metric_families(scraped.text())
        for sample in family.samples
        if sample.value > 0
    }
    assert {
        ("fusion_ticks_total", "ure_only", "studio"),
        ("fusion_clock_resets_total", "osc_1:/pulse", "studio"),
        ("fusion_events_total", "rejected", "studio", "osc_1"),
        ("fusion_events_discarded_total", "json", "studio", "receive"),
    } <= happened
