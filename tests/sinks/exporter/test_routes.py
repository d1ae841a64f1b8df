import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.coherence import PAGES
from configs.outputs import ExporterConfig
from operators.bridge.bridge_config import BridgeExporterConfig
from operators.lines import EvidenceRecord
from operators.records import BridgeStatus
from sinks.exporter.api.resources import ApiRoutes
from sinks.exporter.bridge_metrics import BridgePage
from sinks.exporter.live_state import MAX_FINDINGS
from sinks.exporter.routes import Routes
from tests.support.bridge_frames import status as known
from tests.support.shown import Time, config, events, finding, packet, report, ticks

OPENAPI = json.loads(
    (Path(__file__).parents[3] / "configs" / "schemas" / "openapi.json").read_text()
)
METRICS, BRIDGE = ExporterConfig().path, BridgeExporterConfig().path


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def board(time):
    return time.board()


@pytest.fixture
def pages(board):
    return all_pages_of(board)


def all_pages_of(board):
    return Routes(METRICS, board, {BRIDGE: BridgePage(board).text}, ApiRoutes(config()))


def get(pages, path, **query):
    return pages.answer("GET", path, urlencode(query))


def lines(answer):
    assert answer[0] == 200
    return [msgspec.json.decode(line, type=EvidenceRecord) for line in answer[2].splitlines()]


@pytest.mark.parametrize(
    "path",
    ["", "/metrics", "/metrics_fusion/", "//", "/../etc/passwd", "/page/index.html", "/state/",
     "/evidence", "/Healthz", "/%2e%2e/", "/\udcff", "x" * 9000],
)  # fmt: skip
def test_an_unknown_path_is_404(pages, path):
    for method in ("GET", "POST", "BREW"):
        assert pages.answer(method, path, "")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", ""])
def test_only_get_and_head_are_answered(pages, method):
    for path in pages.routes:
        status, headers, _ = pages.answer(method, path, "")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_readiness_follows_the_data(time, board, pages):
    assert get(pages, "/readyz")[0] == 503
    board.update([packet(ticks(0))])
    assert b"no event" in get(pages, "/readyz")[2], "ticks alone are no data"
    board.update([packet(ticks(1), ends=events("osc_1"))])
    assert get(pages, "/readyz")[::2] == (200, b"ready\n")
    alone = replace(ticks(2), sync_bound_s=np.array([np.nan]))
    board.update([packet(alone, sync=(report("ure:p"), report("osc_1:p", state="lost")))])
    assert get(pages, "/readyz")[::2] == (
        200, b"ready\nr: not compared: one channel live; osc_1:p silent\n"
    )  # fmt: skip
    time.now += 29
    assert get(pages, "/readyz")[0] == 200
    time.now += 2
    assert get(pages, "/readyz")[0] == 503
    board.update([packet(ends=events("osc_1"))])
    assert b"no tick" in get(pages, "/readyz")[2], "the flow hangs"
    assert get(pages, "/healthz")[0] == 200


def test_results_later_than_five_seconds_are_not_ready(time, board, pages):
    def ready(tick, late):
        time.wall = tick + 0.5 + late
        board.update([packet(ticks(tick), ends=events("osc_1"))])
        return get(pages, "/readyz")[::2]

    assert ready(1, 4.9) == (200, b"ready\n")
    why = b"not ready: results come 5.1 s late: this machine cannot keep up\n"
    assert ready(2, 5.1) == (503, why)
    shown = json.loads(get(pages, "/state")[2])
    assert (shown["fresh"], shown["rigs"]["r"]["behind_s"]) == (False, pytest.approx(5.1))
    assert ready(3, 0.2) == (200, b"ready\n")


def test_evidence_is_read_page_by_page_without_loss_or_repeat(board, pages):
    for i in range(25):  # three at each moment: a page may end among them
        board.update([packet(evidence=tuple(finding(float(i), f"{i} {n}") for n in range(3)))])
    found, answer = [], get(pages, "/evidence/bundle", since=5, limit=10)
    found += lines(answer)
    while link := answer[1].get("Link"):
        path, _, query = link[1 : link.index(">")].partition("?")
        answer = pages.answer("GET", path, query)
        assert len(lines(answer)) <= 10
        found += lines(answer)
    assert [f.rule for f in found] == [f"{i} {n}" for i in range(5, 25) for n in range(3)]


def test_evidence_is_bounded(board, pages):
    for i in range(MAX_FINDINGS + 500):
        board.update([packet(evidence=(finding(float(i)),))])
    assert [f.ts for f in lines(get(pages, "/evidence/bundle", limit=2))] == [500, 501]
    assert len(board.findings) == MAX_FINDINGS
    assert len(lines(get(pages, "/evidence/bundle"))) == 100
    assert len(lines(get(pages, "/evidence/bundle", limit=1000))) == 1000


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=1.5", "limit=", "since=x", "since=nan", "since=inf",
     "since=1&since=2", "after=-2", "after=1e300", "limit=9" + "9" * 5000, "depth=1",
     "since=%00", "&".join(["since=1"] * 40), "since=1_0;drop"],
)  # fmt: skip
def test_a_bad_query_is_400_in_one_line(pages, query):
    status, headers, body = pages.answer("GET", "/evidence/bundle", query)
    assert status == 400
    assert headers["Content-Type"].startswith("text/plain")
    assert body.count(b"\n") == 1


_QUERY = st.one_of(
    st.text(),
    st.lists(
        st.tuples(
            st.sampled_from(["since", "limit", "after", "rig", "x"]),
            st.one_of(st.text(), st.integers(), st.floats()),
        )
    ).map(urlencode),
)


@given(
    method=st.one_of(st.just("GET"), st.text()),
    path=st.one_of(st.sampled_from(list(OPENAPI["paths"])), st.text()),
    query=_QUERY,
)
def test_any_request_has_a_documented_response(method, path, query):
    board = Time().board()
    pages = all_pages_of(board)
    status, _, body = pages.answer(method, path, query)
    if path not in OPENAPI["paths"]:
        assert status == 404
    elif method not in ("GET", "HEAD"):
        assert status == 405
    else:
        assert str(status) in OPENAPI["paths"][path]["get"]["responses"]
    assert len(body) < 100_000


def test_the_routes_are_those_of_the_openapi_document(pages):
    assert set(pages.routes) == set(OPENAPI["paths"])
    assert set(PAGES) == set(pages.routes) - {METRICS, BRIDGE}
    for methods in OPENAPI["paths"].values():
        assert set(methods) == {"get"}


def _schema(name):
    return {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}


@pytest.mark.parametrize("begun", [False, True])
def test_the_responses_are_those_of_the_openapi_document(board, pages, begun):
    if begun:
        board.update([packet(ticks(0, 99), ends=events("osc_1"), evidence=(finding(1.0),),
                            sync=(report("osc_1:p"),),
                            bridge_status=known(10.0, unmet=("sync < 0.85",)))])  # fmt: skip
    for path, methods in OPENAPI["paths"].items():
        status, headers, body = get(pages, path)
        response = methods["get"]["responses"][str(status)]
        if "$ref" in response:
            response = OPENAPI["components"]["responses"][response["$ref"].rpartition("/")[2]]
        assert headers["Content-Type"] in response["content"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        if path == "/state":
            for asked in ({}, {"rig": "r"}, {"since": 0}, {"rig": "r", "since": 1}):
                body = get(pages, path, **asked)[2]
                jsonschema.validate(json.loads(body), _schema("State"))
                assert (json.loads(body)["history"] is None) == ("since" not in asked)
        if path == "/evidence/bundle":
            assert len(body.splitlines()) == begun
            for line in body.splitlines():
                jsonschema.validate(json.loads(line), _schema("Finding"))


def test_the_documents_finding_is_the_record():
    assert OPENAPI["components"]["schemas"]["Finding"]["required"] == list(
        EvidenceRecord.__struct_fields__
    )


def test_the_documents_bridge_is_the_status_without_its_counts(board, pages):
    assert json.loads(get(pages, "/state")[2])["rigs"]["r"]["bridge"] is None
    board.update([packet(bridge_status=known(10.0, unmet=("sync is unmet",)))])
    shown = json.loads(get(pages, "/state")[2])["rigs"]["r"]["bridge"]
    counts = {"slips", "steps", "locks", "beats", "transitions", "loop_deviation"}

    assert set(shown) == {"name", *BridgeStatus._fields} - counts
    assert (shown["name"], shown["unmet"]) == ("bridged", ["sync is unmet"])
    assert shown["entropy_ratio"] is None


def test_the_state_has_null_without_a_value(board, pages):
    board.update([packet(ticks(0, coherence=float("nan")))])
    state = json.loads(get(pages, "/state")[2])
    assert state["rigs"]["r"]["indicators"]["coherence"] == {
        "value": None, "why": "needs 30 s of two channels live together, moving at 0.08 to 1.5 Hz",
        "budget": 0.9, "warn": 0.86, "crit": 0.72, "least": True, "good": None,
        "level": None,
    }  # fmt: skip
    assert state["fresh"] is False


def test_the_history_of_one_rig_is_sent_once(time):
    board = time.board(rigs=("a", "b"))
    pages = Routes(METRICS, board)
    board.update([packet(ticks(0, 99, hz=5.0), rig="b")])

    def state_of(**asked):
        return json.loads(get(pages, "/state", **asked)[2])

    first = state_of(rig="b", since=0)
    assert first["names"] == ["a", "b"]
    assert list(first["rigs"]) == ["b"]
    assert len(first["history"]["ts"]) == 98, "the last point is not whole yet"
    assert state_of(rig="b", since=first["version"])["history"]["ts"] == []
    board.update([packet(ticks(99, 3, hz=5.0), rig="b")])
    assert len(state_of(rig="b", since=first["version"])["history"]["ts"]) == 3
    assert len(state_of(rig="b", since=10**6)["history"]["ts"]) == 101, "another run's version"
    assert state_of(since=0)["history"]["rig"] == "a"
    assert state_of(since=0)["history"]["signals"] == {}


@pytest.mark.parametrize("rig", ["x", "", "R", "r/"])
def test_an_unknown_rig_is_404_in_one_line(pages, rig):
    status, _, body = get(pages, "/state", rig=rig)
    assert status == 404
    assert body.count(b"\n") == 1


@pytest.mark.parametrize(
    "query", ["since=-1", "since=0.5", "since=nan", "since=1&since=2", "limit=1"]
)
def test_a_bad_query_of_the_state_is_400_in_one_line(pages, query):
    status, _, body = pages.answer("GET", "/state", query)
    assert status == 400
    assert body.count(b"\n") == 1


def test_the_live_page_requests_no_other_host(pages):
    policy = get(pages, "/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/", *(path for path in pages.routes if path.startswith("/page/"))):
        status, _, body = get(pages, path)
        assert status == 200
        assert b"http://" not in body
        assert b"https://" not in body


def test_the_live_page_requests_served_files(pages):
    index = get(pages, "/")[2].decode()
    asked = set(re.findall(r'(?:href|src)="(page/[^"]+)"', index))
    assert {path for path in pages.routes if path.startswith("/page/")} == {
        f"/{path}" for path in asked
    }
    for path in asked:
        for module in re.findall(r'from "\./([^"]+)"', get(pages, f"/{path}")[2].decode()):
            assert f"/page/{module}" in pages.routes
