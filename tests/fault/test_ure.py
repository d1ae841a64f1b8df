"""However a URE breaks: one pull gives all of a good page, or one loss and no value."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest

from configs.inputs import UreStream
from ops.fakes.ure import DEAF, DOWN, FLAPPING, MODES, MUTE, RESET, Hostile
from sources.inbox import Inbox, Message, StreamChange, Unread, stamp
from sources.ure import UreScraper
from sources.ure import http_get as scrape
from sources.ure.http_get import Deadline, HttpEndpoint
from tests.support.waiting import HUNG_S, until

PAGE = b"# TYPE u_level gauge\nu_level 0.5\n"
KEY = "u_level"
TIMEOUT_S = 0.3
GOOD = ["well", "in chunks", "in gzip"]
NO_VALUE = {"NaN": "value", "infinite": "value"}
LOST = {
    "500": "http", "404": "http", "204": "http", "206": "http", "html": "http",
    "html as text": "exposition", "protobuf": "http", "cut": "exposition",
    "cut OpenMetrics": "exposition", "length too long": "http", "length too short": "exposition",
    "length beyond belief": "too_long", "drip": "timeout", "drip in the headers": "timeout",
    "200 MB": "too_long", "200 MB announced": "too_long", "gzip bomb": "too_long",
    "cut gzip": "http", "gzip and more": "http", "no gzip": "http", "brotli": "http",
    "redirect": "http", "cut chunks": "http", "chunk of negative size": "http",
    "chunk beyond belief": "http", "endless headers": "http", "one endless header": "http",
    "endless continue": "too_long", "no HTTP": "http", "page without headers": "http",
    "half bad": "exposition", "twice": "exposition", "bad UTF-8": "exposition",
    "NUL": "exposition", "empty": "exposition", "comments only": "exposition",
    "too many series": "too_long", "4 MiB in a line": "exposition", "empty lines": "too_long",
    RESET: "http",
}  # fmt: skip
"""By mode: as what the one loss counts."""
NOTHING_CAME = [MUTE, DEAF, DOWN]
BULKY = ["200 MB", "200 MB announced", "gzip bomb", "endless headers", "one endless header",
         "4 MiB in a line", "empty lines", "too many series"]  # fmt: skip


@pytest.fixture
def server():
    with Hostile(lambda: PAGE) as hostile:
        yield hostile


def config(server, **changes):
    fields = {"name": "ure", "metrics_url": server.url, "pull_interval_s": 0.5, "timeout_s": 0.3}
    return UreStream(**(fields | changes))


def one_pull(server, mode, timeout_s=5.0):
    """Run one pull of a stream; return its items and its duration."""
    server.mode = mode
    inbox = Inbox("ure")
    stream = UreScraper(config(server, pull_interval_s=60.0, timeout_s=timeout_s, keys=[KEY]))
    begin = time.monotonic()
    stream.start(inbox)
    until(lambda: inbox.why != "not started")
    took = time.monotonic() - begin
    stream.stop()
    return inbox, inbox.take(), took


def test_every_way_to_break_is_tried():
    assert set(MODES) == {*GOOD, *NO_VALUE, *LOST, "renamed"} - {RESET}
    assert len(LOST) + len(NO_VALUE) + len(NOTHING_CAME) >= 20


@pytest.mark.parametrize("mode", GOOD)
def test_a_good_page_is_received_with_one_arrival(server, mode):
    before = stamp()
    inbox, items, _ = one_pull(server, mode)

    arrived = [x for x in items if isinstance(x, Message)]
    assert [(x.key, x.value) for x in arrived] == [("u_level", 0.5)]
    assert before <= arrived[0].rx <= stamp()
    assert arrived[0].ts != arrived[0].ts
    assert inbox.up


@pytest.mark.parametrize("mode", LOST)
def test_a_bad_page_is_one_loss_and_no_value(server, mode):
    inbox, items, took = one_pull(server, mode, TIMEOUT_S if "drip" in mode else 5.0)

    refused = [x for x in items if not isinstance(x, StreamChange)]
    assert [(type(x), x.reason, x.events, x.where) for x in refused] == [
        (Unread, LOST[mode], 1, server.url)
    ]
    assert 0 < len(refused[0].sample) <= 256 or mode == "empty"
    assert not inbox.up
    assert inbox.why.startswith(f"{server.url}: ")
    assert inbox.why.isprintable()
    if "drip" in mode:
        assert TIMEOUT_S <= took < HUNG_S


@pytest.mark.parametrize("mode", NOTHING_CAME)
def test_where_nothing_answers_nothing_is_lost(server, mode):
    inbox, items, took = one_pull(server, mode, TIMEOUT_S)

    assert [type(x) for x in items] == [StreamChange]
    assert not inbox.up
    assert took < HUNG_S


@pytest.mark.parametrize("mode", NO_VALUE)
def test_what_is_no_finite_number_is_no_value(server, mode):
    _, items, _ = one_pull(server, mode)

    assert [x.reason for x in items if isinstance(x, Unread)] == [NO_VALUE[mode]]
    assert not any(isinstance(x, Message) for x in items)


def test_a_renamed_metric_is_missing_and_the_stream_reports_it(server):
    inbox, items, _ = one_pull(server, "renamed")

    assert [x.reason for x in items if isinstance(x, Unread)] == ["filtered"]
    assert not any(isinstance(x, Message) for x in items)
    assert not inbox.up
    assert "none of its 1 series is one of keys" in inbox.why


def test_a_redirect_is_not_followed(server):
    one_pull(server, "redirect")

    assert server.requests == [b"GET /metrics_ure HTTP/1.1"]


@pytest.mark.parametrize("mode", BULKY)
def test_no_page_takes_much_memory(server, mode):
    server.mode = mode
    stream = UreScraper(config(server, timeout_s=20.0, pull_interval_s=60.0))
    inbox = Inbox("ure")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        stream.start(inbox)
        until(lambda: inbox.why != "not started")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        stream.stop()

    assert inbox.why != "not started"
    assert peak - before < 32 << 20


def test_a_pull_ends_in_time_however_fast_it_is_flooded(server, monkeypatch):
    monkeypatch.setattr(scrape, "_MAX_WIRE", 1 << 40)
    monkeypatch.setattr(scrape, "MAX_PAGE", 1 << 40)
    _, items, took = one_pull(server, "endless continue", TIMEOUT_S)

    assert [x.reason for x in items if isinstance(x, Unread)] == ["timeout"]
    assert took < HUNG_S


def test_it_flaps_without_harm(server):
    server.mode = FLAPPING
    inbox = Inbox("ure")
    stream = UreScraper(config(server, pull_interval_s=0.3, timeout_s=0.3))
    stream.start(inbox)
    until(lambda: len(server.requests) >= 8)
    stream.stop()
    items = inbox.take()

    arrived = [x for x in items if isinstance(x, Message)]
    lost = [x for x in items if isinstance(x, Unread)]
    turned = [x.up for x in items if isinstance(x, StreamChange)]
    assert len(arrived) >= 3
    assert {x.reason for x in lost} <= {"http", "timeout"}
    assert len(lost) >= 3
    assert turned == [i % 2 == 1 for i in range(len(turned))]
    assert [x.rx for x in items] == sorted(x.rx for x in items)


def test_a_faulty_page_after_no_answer_is_quoted_once(server):
    server.mode = DOWN
    inbox = Inbox("ure")
    stream = UreScraper(config(server, pull_interval_s=0.1))
    stream.start(inbox)
    until(lambda: inbox.why != "not started")
    assert inbox.take_log() == []
    server.mode = "half bad"
    lines = []

    def quoted():
        lines.extend(inbox.take_log())
        return bool(lines)

    until(quoted)
    until(lambda: inbox.received >= 3)
    stream.stop()
    (line,) = [*lines, *inbox.take_log()]
    assert line.startswith(f"ure is still down: {server.url}: line ")


def test_it_comes_back_with_the_next_beat(server):
    server.mode = DOWN
    inbox = Inbox("ure")
    stream = UreScraper(config(server, pull_interval_s=0.2, timeout_s=0.2))
    stream.start(inbox)
    for _ in range(3):
        server.mode = DOWN
        until(lambda: not inbox.up and inbox.why != "not started")
        server.mode = "well"
        until(lambda: inbox.up)
    stream.stop()


def test_the_beat_does_not_drift_and_never_are_there_two(server):
    at, under_way, most = [], [0], [0]

    def page():
        at.append(time.monotonic())
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        under_way[0] -= 1
        return PAGE

    server._page = page
    stream = UreScraper(config(server, pull_interval_s=0.2, timeout_s=0.2))
    stream.start(Inbox("ure"))
    until(lambda: len(at) >= 10)
    stream.stop()

    beats = [(t - at[0]) / 0.2 for t in at]
    assert most[0] == 1
    assert all(abs(beat - round(beat)) < 0.45 for beat in beats)
    assert len({round(beat) for beat in beats}) == len(beats)


@pytest.mark.parametrize("mode", ["well", "drip", MUTE, DEAF, DOWN])
def test_stopping_waits_for_nobody_and_leaves_no_thread(server, mode):
    server.mode = mode
    stream = UreScraper(config(server, pull_interval_s=HUNG_S * 2, timeout_s=HUNG_S * 2))
    stream.start(Inbox("ure"))
    time.sleep(0.2)
    begin = time.monotonic()
    stream.stop()
    stream.stop()

    assert time.monotonic() - begin < HUNG_S
    assert not [t for t in threading.enumerate() if t.name.startswith("stream ")]


def test_a_name_that_is_slow_to_look_up_does_not_keep_the_pull(server, monkeypatch):
    asked = threading.Event()
    look_up = scrape._look_up

    def slow(host, port, flags=0):
        if host == "studio.test" and not flags:
            asked.wait(2 * HUNG_S)
            return look_up("127.0.0.1", port)
        return look_up(host, port, flags)

    monkeypatch.setattr(scrape, "_look_up", slow)
    server.mode = "well"
    endpoint = HttpEndpoint(server.url.replace("127.0.0.1", "studio.test"))
    begin = time.monotonic()
    with pytest.raises(scrape.PageError) as failed:
        endpoint.get(Deadline(TIMEOUT_S, lambda: False))
    assert time.monotonic() - begin < HUNG_S
    assert failed.value.reason is None

    asked.set()
    assert endpoint.get(Deadline(5.0, lambda: False)).page == PAGE


def test_a_name_that_is_none_is_down_and_no_loss(server):
    endpoint = HttpEndpoint("http://no..name/")
    with pytest.raises(scrape.PageError) as failed:
        endpoint.get(Deadline(5.0, lambda: False))

    assert failed.value.reason is None


def test_localhost_is_found_by_whatever_address_answers(server):
    endpoint = HttpEndpoint(server.url.replace("127.0.0.1", "localhost"))

    assert endpoint.get(Deadline(5.0, lambda: False)).page == PAGE
