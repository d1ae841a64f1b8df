"""Rigs on paper: the page has the figures of the simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load
from ops.scale_out.paper import ASSUMED, MEASURED, RIGS, largest_load, on_paper, page

PAGE = Path(__file__).parents[3] / "ops" / "docs" / "SCALE.md"


def test_the_page_has_the_table_of_the_simulation() -> None:
    assert f"```\n{page(MEASURED, ASSUMED)}\n```" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("rigs", RIGS)
def test_the_busiest_process_has_room(rigs: int) -> None:
    field = on_paper(rigs, MEASURED, ASSUMED)
    mean = field.rigs / field.processes
    busiest = field.largest_load * mean
    assert busiest * MEASURED.rate_hz * MEASURED.event_us * 1e-6 <= ASSUMED.fill
    assert busiest <= ASSUMED.max_rigs
    assert field.partitions == field.processes * ASSUMED.partitions_each


def test_a_dearer_event_needs_more_processes_and_the_same_topic() -> None:
    dear = MEASURED._replace(event_us=3 * MEASURED.event_us)
    cheap, costly = (on_paper(100_000, each, ASSUMED) for each in (MEASURED, dear))
    assert 2.5 * cheap.processes < costly.processes < 3.5 * cheap.processes
    assert costly.topic_mb_s == cheap.topic_mb_s


def test_the_deal_of_many_rigs_is_more_even() -> None:
    assert largest_load(100, 1, 8) == 1.0
    few, many = largest_load(320, 10, 8), largest_load(320_000, 10, 8)
    assert few > 1.15 > 1.05 > many >= 1.0


def test_configurations_of_the_page_are_sound(tmp_path: Path) -> None:
    blocks = PAGE.read_text("utf-8").split("```yaml\n")[1:]
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block.partition("```")[0])
        assert load(path).config.topic is not None
