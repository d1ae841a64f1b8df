"""The whole conductor in fake time: wall clocks that are set, standstills, hard stops."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from configs.load import load
from operators.records import Packet
from tests.support.fake_conducting import FakeConducting, SentTick
from tests.support.signals import feed
from tests.support.struck_clock import CONFIG, START, packets, station

TICK_S, LEAD_S = 0.2, 0.2
TEXT = """version: 2
streams: [{name: a, type: osc, addr: "127.0.0.1:9000"}]
signals: {pulse: {members: {"a:/x": {}}}}
collect: {block_s: 0.05}
bridge: {reference: {beat: "a:/tick"}}
"""


@pytest.fixture
def conducting(tmp_path: Path) -> Iterator[FakeConducting]:
    (tmp_path / "c.yaml").write_text(TEXT)
    made = FakeConducting(load(tmp_path / "c.yaml", {}).config, START)
    yield made
    made.close()


@pytest.fixture(scope="module")
def struck() -> list[Packet]:
    return feed(station(), packets(block_s=0.05, seconds=40.0))


def even(sent: list[SentTick]) -> bool:
    return all(b.beat == a.beat + 1 and abs(b.at - a.at - TICK_S) < 0.01 for a, b in pairwise(sent))


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_moves_no_tick(conducting, struck, step_s: float) -> None:
    at: list[float] = []

    def set_once(host: float) -> None:
        if host > START + 25 and not at:
            at.append(conducting.time.now)
            conducting.time.ahead += step_s

    begun = conducting.time.ahead
    conducting.play(struck, set_once)
    sent = [each for each in conducting.sent if each.at > at[0] - 5]

    assert len(sent) > 80
    assert even(sent)
    # Ticks that were decided before carry the time of the clock as it was.
    later = [each for each in sent if each.at > at[0] + LEAD_S + 0.05]
    assert max(abs(h.tag - h.at - begun - step_s) for h in later) < 1e-3
    assert conducting.player.clock.counts.outcomes["dropped"] == 0


def test_a_standstill_drops_and_counts_its_ticks_and_sends_no_burst(conducting, struck) -> None:
    """Flow and clock stand still for 10 s; the packets of that time come at once afterwards."""
    split = next(i for i, p in enumerate(struck) if p.watermark > START + 20)
    conducting.play(struck[:split])
    stopped = conducting.time.now
    conducting.time.now += 10.0
    continued = conducting.time.now
    counts = conducting.player.clock.counts.outcomes
    before = dict(counts)
    conducting.play(struck[split:])
    conducting.advance(0.05)

    after = [each for each in conducting.sent if each.at > stopped]
    assert min(each.at for each in after) >= continued
    assert min(b.at - a.at for a, b in pairwise(after)) >= 0.1
    assert 45 <= counts["dropped"] - before["dropped"] <= 51
    late = [each for each in after if each.at > continued + 3]
    assert len(late) > 20
    begun = conducting.time.ahead - START
    phases = np.array([(each.at + begun) / TICK_S for each in late])
    assert np.max(np.abs(phases - np.round(phases))) < 0.02


@pytest.mark.parametrize("level_at", [25.03, 25.28, 25.61, 25.94])
def test_silence_comes_a_tick_and_the_lead_after_a_release(conducting, level_at: float) -> None:
    safety = replace(CONFIG.safety, hard_stop_keep_s=1.0)
    config = replace(CONFIG, safety=safety)
    items = packets(
        config, 40.0, block_s=0.05, level=lambda t: np.where((t > level_at) & (t < 28), 9.0, 0.0)
    )
    released = next(
        released
        for packet in items
        if packet.fused is not None
        for level, released in zip(packet.fused.facts[:, 0], packet.fused.released, strict=True)
        if level > 5
    )
    conducting.play(feed(station(config), items))
    begun = conducting.time.ahead
    times = np.array([each.at + begun for each in conducting.sent])
    before = times[(times > released - 0.5) & (times <= released)]
    after = times[(times > released) & (times < released + 3.0)]

    assert len(before) >= 2
    assert after[-1] - released <= TICK_S + LEAD_S
    assert np.any(times > released + 3.0)
