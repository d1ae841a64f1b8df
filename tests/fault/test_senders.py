"""OSC from senders of others: liblo's oscsend, Pd, SuperCollider and an npm package (`make peers`).

Each runs as a separate program and sends to a stream; its messages arrive as it means them.
"""

from __future__ import annotations

import math
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.inputs import OscStream
from ops.fakes.ports import free_port
from sources.inbox import Inbox, Message, Unread
from sources.osc import OscReceiver
from tests.support.programs import OSCSEND, PD, PEERS, SCLANG, environment, interpreter, needs
from tests.support.waiting import until

PACK_OSC = PEERS / "usr" / "lib" / "pd" / "extra" / "osc"
OSC_MIN = PEERS / "node_modules" / "osc-min"

KeyAndValue = tuple[str, float | str | tuple[float, ...]]


@pytest.fixture
def port() -> int:
    return free_port()


def received(port: int, send: Callable[[], object], count: int) -> list[Message | Unread]:
    """Return the items of a stream while a sender sends `count` messages."""
    inbox, stream = Inbox("osc"), OscReceiver(OscStream(name="osc", addr=f"127.0.0.1:{port}"))
    stream.start(inbox)
    items: list[Message | Unread] = []
    try:
        until(lambda: inbox.up)
        send()

        def arrived() -> bool:
            items.extend(x for x in inbox.take() if isinstance(x, Message | Unread))
            return sum(getattr(x, "events", 1) for x in items) >= count

        until(arrived)
    finally:
        stream.stop()
    return [*items, *(x for x in inbox.take() if isinstance(x, Message | Unread))]


def run(
    *command: str | Path, folder: Path, output: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that was unpacked and is not installed."""
    done = subprocess.run(
        command, cwd=folder, input=output, timeout=60, capture_output=True, text=True,
        env=env or environment(folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def values(items: list[Message | Unread]) -> list[KeyAndValue]:
    return [(x.key, x.value) for x in items if isinstance(x, Message)]


def refusals(items: list[Message | Unread]) -> Counter[str]:
    found: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Unread):
            found[item.reason] += item.events
    return found


def stamps(items: list[Message | Unread]) -> list[float]:
    """Return source time less arrival of all that has a source time."""
    return [x.ts - x.rx for x in items if isinstance(x, Message) and not math.isnan(x.ts)]


# oscsend: messages one by one.


def oscsend(port: int, folder: Path, *messages: tuple[str, ...]) -> list[Message | Unread]:
    def send() -> None:
        for message in messages:
            run(OSCSEND, "127.0.0.1", str(port), *message, folder=folder)

    return received(port, send, len(messages))


@needs(OSCSEND)
def test_oscsend_numbers_of_every_type_and_text_are_received(port: int, tmp_path: Path) -> None:
    items = oscsend(
        port, tmp_path, ("/a", "i", "-7"), ("/b", "f", "0.5"), ("/c", "d", "0.1"),
        ("/d", "h", "123456789012"), ("/e", "fff", "1", "2", "3"), ("/f", "s", "verse"),
    )  # fmt: skip
    assert values(items) == [
        ("/a", -7.0), ("/b", 0.5), ("/c", 0.1), ("/d", 123456789012.0), ("/e", (1.0, 2.0, 3.0)),
        ("/f", "verse"),
    ]  # fmt: skip
    assert stamps(items) == []  # a message on its own has no timetag: no clock of its own


@needs(OSCSEND)
def test_oscsend_a_truth_is_one_and_nil_is_refused(port: int, tmp_path: Path) -> None:
    items = oscsend(port, tmp_path, ("/yes", "T"), ("/nothing", "N"), ("/on", "f", "1"))
    assert values(items) == [("/yes", 1.0), ("/on", 1.0)]
    assert refusals(items) == {"value": 1}


# Pd: a patch that sends at its start and ends.


def pd(
    port: int, folder: Path, packer: str, messages: list[str], count: int
) -> list[Message | Unread]:
    """Return the received messages of an object of Pd."""
    boxes = [
        "obj 0 0 loadbang", "obj 0 0 t b b b", f"msg 0 0 connect 127.0.0.1 {port}",
        f"msg 0 0 {' '.join(messages)}", f"obj 0 0 {packer}", "obj 0 0 netsend -u -b",
        "obj 0 0 del 200", r"msg 0 0 \; pd quit",
    ]  # fmt: skip
    wires = ["0 0 1 0", "1 2 2 0", "2 0 5 0", "1 1 3 0", "3 0 4 0", "4 0 5 0", "1 0 6 0", "6 0 7 0"]
    lines = ["#N canvas 0 0 400 300 10", *(f"#X {box}" for box in boxes)]
    patch = folder / "send.pd"
    patch.write_text("".join(f"{x};\n" for x in [*lines, *(f"#X connect {w}" for w in wires)]))
    options = ("-nogui", "-batch", "-noaudio", "-nomidi", "-path", str(PACK_OSC))
    return received(port, lambda: run(PD, *options, patch, folder=folder), count)


@needs(PD)
def test_pd_lists_of_numbers_and_words_are_received(port: int, tmp_path: Path) -> None:
    items = pd(port, tmp_path, "oscformat", [
        r"set pd one \, 0.25 \,", r"set pd three \, 0.5 -2 7 \,", r"set pd word \, list verse \,",
        r"format i \, set pd whole \, 9",
    ], 4)  # fmt: skip
    assert values(items) == [
        ("/pd/one", 0.25), ("/pd/three", (0.5, -2.0, 7.0)), ("/pd/word", "verse"),
        ("/pd/whole", 9.0),
    ]  # fmt: skip
    assert stamps(items) == []


@needs(PD, PACK_OSC)
def test_pd_a_bundle_carries_its_clock_and_an_immediate_one_none(port: int, tmp_path: Path) -> None:
    items = pd(port, tmp_path, "packOSC", [
        r"timetagoffset 0 \, [ \, sendtyped /i i 7 \, sendtyped /ff ff 0.5 0.25 \, ] \,",
        r"timetagoffset -1 \, [ \, sendtyped /now f 0.75 \, ] \,",
        r"sendtyped /yes T \, sendtyped /text s verse",
    ], 5)  # fmt: skip
    assert values(items) == [
        ("/i", 7.0), ("/ff", (0.5, 0.25)), ("/now", 0.75), ("/yes", 1.0),
        ("/text", "verse"),
    ]  # fmt: skip
    assert refusals(items) == {}
    own = stamps(items)
    assert len(own) == 2 and own[0] == own[1]
    assert abs(own[0]) < 2  # this sender's fractions of a second are its own


# SuperCollider: a program for its interpreter.


def sclang(port: int, folder: Path, program: str, count: int) -> list[Message | Unread]:
    (folder / "send.scd").write_text(
        f'fork {{ var to = NetAddr("127.0.0.1", {port}); {program} 0.3.wait; 0.exit; }}'
    )
    command, env = interpreter(folder, folder / "send.scd")
    return received(port, lambda: run(*command, folder=folder, env=env), count)


@needs(SCLANG)
def test_sclang_messages_and_bundles_are_received(port: int, tmp_path: Path) -> None:
    items = sclang(port, tmp_path, """
        to.sendMsg("/sc/int", -7);
        to.sendMsg("/sc/many", 1, 0.5);
        to.sendMsg("/sc/text", "verse");
        to.sendMsg("/sc/yes", true);
        to.sendMsg("/sc/blob", Int8Array[1, 2, 3]);
        to.sendBundle(nil, ["/sc/now", 0.75]);
        to.sendBundle(0.2, ["/sc/soon", 0.25], ["/sc/both", 1, 2]);
        NetAddr.useDoubles = true;
        to.sendMsg("/sc/double", 0.1);
    """, 9)  # fmt: skip
    assert values(items) == [
        ("/sc/int", -7.0), ("/sc/many", (1.0, 0.5)), ("/sc/text", "verse"), ("/sc/yes", 1.0),
        ("/sc/now", 0.75), ("/sc/soon", 0.25), ("/sc/both", (1.0, 2.0)), ("/sc/double", 0.1),
    ]  # fmt: skip
    assert refusals(items) == {"value": 1}  # the blob
    # Only the bundle for a moment to come has a time of its own.
    assert stamps(items) == pytest.approx([0.2, 0.2], abs=0.1)


# An npm package: a program for node.


def node(port: int, folder: Path, packets: str, count: int) -> list[Message | Unread]:
    program = f"""
        import dgram from "node:dgram";
        import {{ pathToFileURL }} from "node:url";
        const {{ toBuffer }} = await import(pathToFileURL("{OSC_MIN}/dist/index.js"));
        const out = dgram.createSocket("udp4");
        for (const packet of [{packets}])
            await new Promise((sent) => out.send(toBuffer(packet), {port}, "127.0.0.1", sent));
        out.close();
    """
    command = ("node", "--input-type=module", "-")
    return received(port, lambda: run(*command, folder=folder, output=program), count)


@needs(OSC_MIN)
def test_osc_min_every_type_is_received_or_refused(port: int, tmp_path: Path) -> None:
    items = node(port, tmp_path, """
        {address: "/i", args: {type: "integer", value: -7}},
        {address: "/d", args: {type: "double", value: 0.1}},
        {address: "/h", args: {type: "bigint", value: 123456789012n}},
        {address: "/many", args: [0.5, 0.25, {type: "integer", value: 3}]},
        {address: "/s", args: "verse"},
        {address: "/yes", args: {type: "true"}},
        {address: "/null", args: {type: "null"}},
        {address: "/blob", args: {type: "blob", value: Buffer.from("beat")}},
        {address: "/nested", args: [[0.5, 0.25]]},
        {address: "/mixed", args: [0.5, {type: "true"}, "word", 0.25]},
        {address: "/last", args: 1},
    """, 11)  # fmt: skip
    mixed = next(x.value for x in items if isinstance(x, Message) and x.key == "/mixed")
    assert mixed == (0.5, 1.0, "word", 0.25)
    assert [x for x in values(items) if x[0] != "/mixed"] == [
        ("/i", -7.0), ("/d", 0.1), ("/h", 123456789012.0), ("/many", (0.5, 0.25, 3.0)),
        ("/s", "verse"), ("/yes", 1.0), ("/nested", (0.5, 0.25)), ("/last", 1.0),
    ]  # fmt: skip
    assert refusals(items) == {"value": 2}  # null and the blob
    assert stamps(items) == []


@needs(OSC_MIN)
def test_osc_min_the_innermost_timetag_is_the_source_time(port: int, tmp_path: Path) -> None:
    items = node(port, tmp_path, """
        {oscType: "bundle", timetag: new Date(Date.now() - 10000), elements: [
            {address: "/outer", args: 0.5},
            {oscType: "bundle", timetag: new Date(Date.now() - 20000),
             elements: [{address: "/inner", args: 0.25}]},
            {oscType: "bundle", timetag: [0, 1], elements: [{address: "/now", args: 0.75}]},
        ]},
    """, 3)  # fmt: skip
    assert values(items) == [("/outer", 0.5), ("/inner", 0.25), ("/now", 0.75)]
    assert stamps(items) == pytest.approx([-10, -20], abs=0.5)
