import gc
import tracemalloc
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from configs.outputs import ExporterConfig
from configs.token_file import TokenFileError, token_of
from ops.cli.state_client import NoAnswerError, ask
from ops.fakes.ports import free_port
from sinks.exporter.protection import Protection
from sinks.exporter.rate_limit import MAX_ADDRESSES
from sinks.exporter.server import Server, served
from sources.osc.udp import listener
from tests.support.shown import Time, events, packet, ticks
from tests.support.waiting import HUNG_S

TOKEN = "0123456789abcdef.~+/-_=="


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def begin():
    """Return what starts a server; all are stopped at the end."""
    with ExitStack() as stack:

        def _begin(**given):
            port = free_port()
            board = Time().board()
            board.update([packet(ticks(0), ends=events("osc_1"))])
            server = Server(ExporterConfig(http_port=port, **given), board, listener)
            server.start()
            stack.callback(server.stop)
            return f"http://127.0.0.1:{port}"

        yield _begin


def get(url, authorization=None, method="GET"):
    headers = {} if authorization is None else {"Authorization": authorization}
    asked = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=HUNG_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_a_token_opens_every_page(begin, token_file):
    url = begin(token_file=token_file)
    for path in ("/metrics_fusion", "/state", "/", "/nowhere", "/v1/rigs"):
        status, headers, body = get(url + path)
        assert (status, headers["WWW-Authenticate"], body) == (401, "Bearer", b"Unauthorized.\n")
    assert get(f"{url}/state", f"Bearer {TOKEN}")[0] == 200
    assert get(f"{url}/state", f"bearer {TOKEN}")[0] == 200
    assert get(f"{url}/nowhere", f"Bearer {TOKEN}")[0] == 404


def test_probes_need_no_token(begin, token_file):
    url = begin(token_file=token_file, max_qps=0.1)
    assert [get(f"{url}/healthz")[0] for _ in range(5)] == [200] * 5
    assert get(f"{url}/readyz", "Bearer wrong")[0] == 200


@pytest.mark.parametrize(
    "wrong",
    ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}=",
     f"Bearer  {TOKEN}", f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}, Bearer {TOKEN}",
     "Bearer \xff\xfe", "Bearer " + "x" * 7000],
)  # fmt: skip
def test_all_wrong_tokens_have_one_answer(begin, token_file, wrong):
    url = begin(token_file=token_file)
    expected = get(f"{url}/state", "Bearer another")
    answer = get(f"{url}/state", wrong.encode("latin-1"))
    assert (answer[0], answer[2]) == (expected[0], expected[2]) == (401, b"Unauthorized.\n")
    assert [name for name in answer[1] if name != "Date"] == [
        name for name in expected[1] if name != "Date"
    ]


def test_networks_that_are_not_named_are_refused(begin):
    url = begin(allow=["10.0.0.0/8", "::1"])
    assert get(f"{url}/healthz")[0] == get(f"{url}/state")[0] == 403
    assert get(f"{begin(allow=['10.0.0.0/8', '127.0.0.1'])}/state")[0] == 200


def test_a_mapped_address_is_that_of_version_four():
    guard = Protection(ExporterConfig(allow=["10.0.0.0/8"]))
    assert guard.refusal("/state", "::ffff:10.1.2.3", "") is None
    assert guard.refusal("/state", "::ffff:11.1.2.3", "")[0] == 403
    assert guard.refusal("/state", "", "")[0] == 403


def test_requests_beyond_the_rate_are_refused_with_the_time_to_wait(begin, token_file):
    url = begin(max_qps=0.5, token_file=token_file)
    assert get(f"{url}/state", "Bearer wrong")[0] == 401
    status, headers, body = get(f"{url}/state", f"Bearer {TOKEN}")
    assert (status, body) == (429, b"Too many requests.\n"), "wrong tokens are counted too"
    assert headers["Retry-After"] in ("1", "2")


def test_head_is_get_without_its_body(begin):
    url = begin()
    whole, head = get(f"{url}/metrics_fusion"), get(f"{url}/metrics_fusion", method="HEAD")
    assert (head[0], head[2]) == (200, b"")
    assert head[1]["Content-Type"] == whole[1]["Content-Type"]
    assert int(head[1]["Content-Length"]) > 1000


def test_ten_thousand_wrong_tokens_leave_memory_as_it_was(token_file):
    guard = Protection(ExporterConfig(token_file=token_file, max_qps=20))

    def wrong(first, number):
        for i in range(first, first + number):
            guard.refusal("/state", f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", f"Bearer {i:020}")

    wrong(0, 2 * MAX_ADDRESSES)
    gc.collect()
    tracemalloc.start()
    try:
        wrong(2 * MAX_ADDRESSES, 10_000)
        gc.collect()
        # Buckets that are swept and made anew: no more than the table's own size.
        assert tracemalloc.get_traced_memory()[0] < 512 << 10
    finally:
        tracemalloc.stop()
    assert len(guard.limit) <= MAX_ADDRESSES + 1


def test_wrong_tokens_leave_scrapes_as_they_were(begin, token_file):
    url = begin(token_file=token_file, max_qps=100_000)
    before = get(f"{url}/metrics_fusion", f"Bearer {TOKEN}")[2]
    for i in range(200):
        assert get(f"{url}/state", f"Bearer wrong{i}")[0] == 401
    after = get(f"{url}/metrics_fusion", f"Bearer {TOKEN}")[2]
    assert names(after) == names(before)


def names(page):
    """Return the series of a page, without their values."""
    return [line.rpartition(b" ")[0] for line in page.splitlines()]


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [
        (b"", 0o600, "holds no token"),
        (b"short\n", 0o600, "holds no token"),
        (TOKEN.encode() + b"\n\n", 0o600, "holds no token"),
        (b"two words of a token\n", 0o600, "holds no token"),
        (b"x" * 513, 0o600, "holds no token"),
        (b"\x00" * 32, 0o600, "holds no token"),
        ("ü".encode() * 20, 0o600, "holds no token"),
        (TOKEN.encode(), 0o640, "may be read by others"),
        (TOKEN.encode(), 0o604, "may be read by others"),
    ],
)
def test_a_file_without_a_token_is_refused(tmp_path, content, mode, fault):
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(TokenFileError, match=fault) as refused:
        served(
            ExporterConfig(http_port=free_port(), token_file=str(file)), Time().board(), listener
        )
    assert len(refused.value.lines()) == 1
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_end_of_the_line_is_no_part_of_a_token(tmp_path, end):
    file = tmp_path / "token"
    file.write_bytes(f"{TOKEN}{end}".encode())
    file.chmod(0o400)
    assert token_of(str(file)) == TOKEN.encode()


def test_a_link_is_no_token_file(tmp_path, token_file):
    link = tmp_path / "link"
    link.symlink_to(token_file)
    with pytest.raises(TokenFileError, match="a link"):
        token_of(str(link))


def test_commands_send_the_token_of_the_environment(begin, token_file, monkeypatch):
    url = begin(token_file=token_file)
    monkeypatch.delenv("LUMEN_TOKEN_FILE", raising=False)
    with pytest.raises(NoAnswerError, match=r"refuses this client \(401\): set LUMEN_TOKEN_FILE"):
        ask(url)
    monkeypatch.setenv("LUMEN_TOKEN_FILE", token_file)
    assert ask(url).names == ["r"]
    monkeypatch.setenv("LUMEN_TOKEN_FILE", token_file + "x")
    with pytest.raises(NoAnswerError, match="cannot be read"):
        ask(url)


@pytest.mark.parametrize(
    ("given", "warned"), [({}, True), ({"allow": ["127.0.0.1"]}, False), ({"max_qps": 5}, True)]
)
def test_an_open_port_is_reported_unless_it_is_guarded(begin, capsys, given, warned):
    begin(host="0.0.0.0", **given)
    assert ("is open to other machines" in capsys.readouterr().err) == warned
