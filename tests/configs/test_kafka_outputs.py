"""Kafka outputs in a configuration: what is refused, and the file of security settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import extras
from configs.document import ConfigError
from configs.kafka_cluster import SecurityFileError, properties_of
from configs.load import load
from ops.__main__ import main

START = """version: 2
streams: [{name: a, type: osc, addr: "127.0.0.1:9000"}]
signals: {s: {members: {"a:/x": {}}}}
"""


def faults(folder: Path, text: str) -> list[str]:
    path = folder / "c.yaml"
    path.write_text(START + text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.lines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tap: {dir: t, kafka: {brokers: []}}\n", "4:32"),
        ('tap: {dir: t, kafka: {brokers: ["nowhere"]}}\n', "an address such as"),
        ('tap: {dir: t, kafka: {brokers: ["a:1"], topic: "a b"}}\n', "a topic of at most 249"),
        ('tap: {dir: t, kafka: {brokers: ["a:1"], topic: ".."}}\n', "a topic of at most 249"),
        ('send: [{name: r, type: kafka, brokers: ["a:1"], files: [dead]}]\n', "4:57"),
        ('send: [{name: r, type: kafka, brokers: ["a:1"], map: {}}]\n', "unknown key 'map'"),
        ("send: [{name: r, type: kafka}]\n", "'brokers' is missing"),
    ],
)
def test_a_faulty_output_is_one_line_with_its_place(
    tmp_path: Path, text: str, expected: str
) -> None:
    (line,) = faults(tmp_path, text)
    assert expected in line


def test_an_output_without_its_extra_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "kafka", "no_such_module")
    (line,) = faults(tmp_path, 'send: [{name: r, type: kafka, brokers: ["a:1"]}]\n')
    assert line.endswith(":4:24: type kafka needs pip install 'lumen-fusion[kafka]'")


def test_topics_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    path, prints = tmp_path / "c.yaml", set()
    for topic in ("", ', kafka: {brokers: ["a:1"]}'):
        path.write_text(START + f"tap: {{dir: t{topic}}}\n")
        prints.add(load(path).fingerprint)
    path.write_text(path.read_text() + 'send: [{name: r, type: kafka, brokers: ["a:1"]}]\n')
    prints.add(load(path).fingerprint)
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("tap", "reason"),
    [
        ("tap: {dir: DIR/tap}\n", "--to kafka needs tap.kafka, such as tap:"),
        (
            'tap: {dir: DIR/tap, kafka: {brokers: ["127.0.0.1:9"], security: {file: DIR/no}}}\n',
            "no: cannot be read",
        ),
    ],
)
def test_an_edge_that_cannot_send_is_refused_before_it_records(
    tmp_path: Path, tap: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(START + tap.replace("DIR", str(tmp_path)))
    with pytest.raises(SystemExit) as ended:
        main(["record", str(path), "--to", "kafka"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "tap").exists()


def secured(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "kafka.properties"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_security_file_has_keys_comments_and_blank_lines(tmp_path: Path) -> None:
    text = "# ours\n\nsecurity.protocol=SASL_SSL\n sasl.password = a=b c \n! end\n"
    expected = {"security.protocol": "SASL_SSL", "sasl.password": "a=b c"}
    assert properties_of(secured(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sasl.password\n", ":1: no key, expected key=value"),
        ("\nbootstrap.servers=evil:1\n", ":2: the key 'bootstrap.servers', expected"),
        ("acks=0\n", ":1: the key 'acks'"),
        ("sasl.username=a\nsasl.username=b\n", ":2: the key 'sasl.username' a second time"),
    ],
)
def test_another_line_of_a_security_file_is_named_without_its_value(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(SecurityFileError) as caught:
        properties_of(secured(tmp_path, text))
    assert reason in str(caught.value)
    assert "evil" not in str(caught.value)


def test_a_security_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecurityFileError, match="0600"):
        properties_of(secured(tmp_path, "sasl.password=x\n", 0o640))
