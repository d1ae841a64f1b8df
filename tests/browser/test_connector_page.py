"""The JavaScript of ops/docs/CONNECTORS.md in a real browser: an event, readings of its clock."""

import re
from pathlib import Path

import pytest

from configs.connectors.websocket import WebSocketStream
from operators.events import READING_KEY
from ops.fakes.browser import TARGET, found
from ops.fakes.ports import free_port
from sources.inbox import Inbox, Message
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(found() is None, reason=TARGET)
PAGE = Path(__file__).parents[2] / "ops/docs/CONNECTORS.md"
ORIGIN = "https://stage.local"
GRAIN_S = 2e-3
"""Twice the grain of a browser's clock."""


@pytest.fixture
def served():
    """Yield an address and the inbox behind it."""
    pytest.importorskip("websockets")
    from sources.websocket.websocket import WebSocketReceiver

    addr = f"127.0.0.1:{free_port()}"
    receiver = WebSocketReceiver(WebSocketStream(name="pad", addr=addr, origins=[ORIGIN]))
    inbox = Inbox("pad")
    receiver.start(inbox)
    until(lambda: inbox.up)
    yield addr, inbox
    receiver.stop()


def test_the_page_sends_its_event_and_true_readings_of_its_clock(chromium, served):
    addr, inbox = served
    scripts = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.S)
    script = "".join(scripts).replace("127.0.0.1:9400", addr)
    assert addr in script
    # Chromium asks the user before a page from elsewhere connects to this machine.
    context = chromium.new_context(permissions=["local-network-access"])
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    html = f"<!doctype html><script>{script}</script>"
    page.route(f"{ORIGIN}/**", lambda route: route.fulfill(content_type="text/html", body=html))
    page.goto(f"{ORIGIN}/")
    items = []

    def enough():
        page.wait_for_timeout(20)
        items.extend(inbox.take())
        return faults or sum(getattr(x, "key", "") == READING_KEY for x in items) >= 2

    until(enough)
    before, now, after = inbox.host(), page.evaluate("performance.now() / 1000"), inbox.host()
    context.close()
    assert faults == []
    events = [x for x in items if isinstance(x, Message)]
    assert [x.value for x in events if x.key == "/left"] == [0.5]
    assert {x.key for x in events} == {"/left", READING_KEY}
    for offset, error in (x.value for x in events if x.key == READING_KEY):
        assert error >= -GRAIN_S
        assert before - now - error - GRAIN_S <= offset <= after - now + error + GRAIN_S
