"""A topic as input in a configuration: what is refused, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import extras
from configs.document import ConfigError
from configs.load import load

REST = """signals: {s: {members: {"a:/x": {}}}}
"""


def faults(folder: Path, streams: str, rest: str = "") -> list[str]:
    path = folder / "c.yaml"
    path.write_text(f"version: 2\nstreams: [{streams}]\n{REST}{rest}")
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.lines()


def topic(more: str = "", brokers: str = '"hall:9092"') -> str:
    return f"{{name: t, type: kafka, brokers: [{brokers}], topic: lumen.events{more}}}"


@pytest.mark.parametrize(
    ("stream", "faulty", "expected"),
    [
        (topic(', partitions: "3-1"'), '"3-1"', "the partitions '3-1', expected the lower number"),
        (topic(', partitions: "0,5-2"'), '"0,5-2"', "the partitions '5-2', expected the lower"),
        (topic(", partitions: some"), "some", "all, or partitions such as"),
        (topic(", partitions: -1"), "-1", "partitions"),
        (topic(brokers='"hall:99999"'), '"hall', "the broker 'hall:99999', expected a port from"),
        (topic(brokers='"hall:0"'), '"hall', "the broker 'hall:0', expected a port from 1"),
        (topic(", group: a b"), "a b", "a name of at most 255 printable characters"),
        (topic(", start: newest"), "newest", "expected one of earliest, latest"),
        (topic(", batch_lines: 0"), "0}", "batch_lines"),
        (topic(", security: {file: /no/such}"), "/no", "/no/such: cannot be read"),
    ],
)
def test_a_faulty_topic_is_one_line_with_its_place(
    tmp_path: Path, stream: str, faulty: str, expected: str
) -> None:
    (line,) = faults(tmp_path, stream)
    column = f"streams: [{stream}".index(faulty) + 1
    assert line.startswith(f"{tmp_path / 'c.yaml'}:2:{column}: ")
    assert expected in line


def test_a_second_stream_beside_a_topic_is_refused_at_the_topic(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, topic() + ', {name: o, type: osc, addr: "127.0.0.1:9000"}')
    assert line.endswith(":2:27: the topic of 't' beside other streams, expected it alone")


def test_a_security_file_that_others_may_read_is_refused_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("sasl.password=hidden\n")
    path.chmod(0o644)
    (line,) = faults(tmp_path, topic(f", security: {{file: {path}}}"))
    column = f"streams: [{topic(', security: {file: ')}".index("}") + 1
    assert f":2:{column}: {path}: may be read by others, expected a file of mode 0600" in line
    assert "hidden" not in line


def test_a_topic_without_its_extra_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "kafka", "no_such_module")
    (line,) = faults(tmp_path, topic())
    assert line.endswith(":2:27: type kafka needs pip install 'lumen-fusion[kafka]'")


def sent(more: str = "", brokers: str = '"hall:9092"', named: str = "lumen.events") -> str:
    return f"send: [{{name: r, type: kafka, brokers: [{brokers}], topic: {named}{more}}}]\n"


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ('"hall:9092"', '"HALL:9092"'),
        ('"localhost:9092"', '"127.0.0.1:9092"'),
        ('"hall:9092", "attic:9092"', '"cellar:9092", "attic:9092"'),
    ],
)
def test_results_to_the_topic_that_the_run_reads_are_refused_at_their_topic(
    tmp_path: Path, read: str, written: str
) -> None:
    send = sent(brokers=written)
    (line,) = faults(tmp_path, topic(brokers=read), send)
    column = send.index("lumen.events") + 1
    message = (
        "the topic 'lumen.events' is read by stream 't', expected another topic, or loop: true"
    )
    assert line == f"{tmp_path / 'c.yaml'}:4:{column}: {message}"


def test_the_topic_that_results_have_by_default_is_refused_too(tmp_path: Path) -> None:
    read = topic().replace("lumen.events", "lumen.fused")
    (line,) = faults(tmp_path, read, 'send: [{name: r, type: kafka, brokers: ["hall:9092"]}]\n')
    assert ":4:8: the topic 'lumen.fused' is read by stream 't'" in line


@pytest.mark.parametrize(
    "send",
    [
        sent(", loop: true"),
        sent(named="lumen.fused"),
        sent(brokers='"hall:9093"'),
        sent(brokers='"attic:9092"'),
    ],
)
def test_another_topic_or_cluster_or_a_loop_on_request_is_fine(tmp_path: Path, send: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"version: 2\nstreams: [{topic()}]\n{REST}{send}")
    assert load(path).config.topic is not None
