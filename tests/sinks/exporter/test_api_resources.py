import json
from pathlib import Path
from urllib.parse import urlencode

import jsonschema
import pytest

from configs.coherence import PAGES
from configs.outputs import ExporterConfig, OutputConfig, StoreConfig
from sinks.exporter.answers import wants_json
from sinks.exporter.api import history_pages
from sinks.exporter.api.resources import PATHS, PREFIX, ApiRoutes
from sinks.exporter.routes import HistoryRoutes, Routes
from tests.support.shown import Time, config, events, packet, ticks
from tests.support.stored import History

OPENAPI = json.loads(
    (Path(__file__).parents[3] / "configs" / "schemas" / "openapi.json").read_text()
)
HISTORY = [path for path in PATHS if "history" in path]
HASH = "ab" * 32


@pytest.fixture
def history(tmp_path):
    made = History(tmp_path / "history" / "history.sqlite")
    yield made
    made.store.close()


@pytest.fixture
def stored(history, tmp_path):
    """Return the configuration of a history with one snapshot and a judgement."""
    history.add(0, 200)
    folder = tmp_path / "history" / "snapshots"
    folder.mkdir()
    (folder / "20261121T120000Z.sqlite").write_bytes(b"x" * 10)
    (folder / "20261121T120000Z.sqlite.sha256").write_text(f"{HASH}  20261121T120000Z.sqlite\n")
    (folder / "20261121T110000Z.sqlite.bad").write_bytes(b"x")
    (tmp_path / "gate.json").write_text('{"verdict": "GO", "gates": []}\n')
    return config(
        store=StoreConfig(dsn=history.dsn),
        exporter=ExporterConfig(gate_file=str(tmp_path / "gate.json")),
        output=OutputConfig(dir=str(tmp_path / "out")),
    )


@pytest.fixture(params=["alone", "beside a flow"])
def api(request, stored):
    if request.param == "alone":
        routes = HistoryRoutes(ApiRoutes(stored))
    else:
        board = Time().board()
        board.update([packet(ticks(0), ends=events("osc_1"))])
        routes = Routes("/metrics_fusion", board, None, ApiRoutes(stored, board))
    yield routes
    routes.close()


def get(routes, path, accept="", **query):
    return routes.answer("GET", path, urlencode(query), accept)


def rows(answer):
    assert answer[0] == 200, answer
    assert answer[1]["Content-Type"] == "application/jsonl"
    return [json.loads(line) for line in answer[2].splitlines()]


def test_each_path_has_an_operation_and_is_taken():
    assert set(PATHS) == {path for path in OPENAPI["paths"] if path.startswith(PREFIX)}
    assert set(PATHS) <= set(PAGES)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["application/json", "application/jsonl"])
def test_responses_are_those_of_the_openapi_document(api, path, accept):
    status, headers, body = get(api, path, accept, **({"rig": "r"} if path in HISTORY else {}))
    assert status == 200
    content = OPENAPI["paths"][path]["get"]["responses"]["200"]["content"]
    schema = content[headers["Content-Type"]]["schema"] | {"components": OPENAPI["components"]}
    documents = [json.loads(body)]if path.endswith("gate") or accept.endswith("json") else rows(
        (status, headers, body)
    )  # fmt: skip
    assert documents
    for document in documents:
        jsonschema.validate(document, schema)


def test_the_two_forms_hold_the_same_rows(api):
    for path in PATHS[:3] + PATHS[4:]:
        query = {"rig": "r", "limit": 7} if path in HISTORY else {}
        lines = get(api, path, **query)
        document = json.loads(get(api, path, "application/json", **query)[2])
        assert document["rows"] == rows(lines)
        assert document.get("after") == lines[1].get("Lumen-After")
        assert document.get("more", False) == ("Link" in lines[1])


def test_the_link_leads_to_the_next_page(api):
    whole = rows(get(api, "/v1/history/ticks", rig="r", limit=10_000))
    answer = get(api, "/v1/history/ticks", rig="r", to=30.1, limit=13)
    found = rows(answer)
    while link := answer[1].get("Link"):
        path, _, query = link[1 : link.index(">")].partition("?")
        answer = api.answer("GET", path, query)
        found += rows(answer)
    assert found == [row for row in whole if row["ts"] < 30.1]


@pytest.mark.parametrize(
    ("accept", "as_json"),
    [("", False), ("*/*", False), ("application/json", True), ("application/jsonl", False),
     ("application/json, application/jsonl", False), ("text/html, application/json;q=0.1", True),
     ("application/jsonl;q=0.5, application/json;q=0.9", True), ("application/json;q=0", False),
     ("application/x-ndjson;q=0.9,APPLICATION/JSON;Q=1", True), ("application/json;q=x", False),
     (",;,;q=;", False)],
)  # fmt: skip
def test_the_form_follows_the_accept_header(accept, as_json):
    assert wants_json(accept) == as_json


@pytest.mark.parametrize(
    ("path", "key"),
    [("/v1/snapshots", "store"), ("/v1/gate", "exporter.gate_file"), ("/v1/rigs", "store"),
     *((path, "store") for path in HISTORY)],
)  # fmt: skip
def test_without_its_key_a_resource_is_404_in_one_line(path, key):
    status, _, body = get(HistoryRoutes(ApiRoutes(config())), path, rig="r")
    assert (status, body) == (404, f"The configuration has no key {key}.\n".encode())


@pytest.mark.parametrize(
    "query",
    ["", "rig=", "rig=r&limit=0", "rig=r&limit=1000000000", "rig=r&limit=1.5", "rig=r&from=x",
     "rig=r&from=2&to=1", "rig=r&to=nan", "rig=r&rig=s", "rig=r&depth=1", "rig=r&after=",
     "rig=r&after=x", "rig=r&after=%00", "rig=r&after=" + "A" * 5000, "rig=r&from=inf"],
)  # fmt: skip
@pytest.mark.parametrize("path", HISTORY)
def test_a_bad_query_of_the_history_is_400_in_one_line(api, path, query):
    status, headers, body = api.answer("GET", path, query)
    assert (status, body.count(b"\n")) == (400, 1)
    assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", PATHS[:4])
def test_lists_take_no_parameter(api, path):
    assert get(api, path, rig="r")[0] == 400


@pytest.mark.parametrize("rig", ["R", "r' OR 1=1 --", "r\x00", "\udcff", "x" * 5000, "r/"])
def test_an_unknown_rig_of_the_history_is_404_in_one_line(api, rig):
    answer = api.answer("GET", "/v1/history/ticks", urlencode({"rig": rig}, errors="replace"))
    assert answer[0] == 404
    assert answer[2].count(b"\n") == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: None,
        lambda path: path.write_text("no store"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["missing", "text", "empty"],
)
def test_a_store_that_is_away_is_503_with_the_time_to_wait(stored, history, tmp_path, spoil):
    api = HistoryRoutes(ApiRoutes(stored))
    assert get(api, "/readyz")[0] == 200
    history.store.close()
    for file in (tmp_path / "history").glob("history.sqlite*"):
        file.unlink()
    spoil(tmp_path / "history" / "history.sqlite")
    for path in (*HISTORY, "/v1/rigs"):
        status, headers, body = get(api, path, **({"rig": "r"} if path in HISTORY else {}))
        assert (status, headers["Retry-After"]) == (503, "5")
        assert body.count(b"\n") == 1
        assert str(tmp_path).encode() not in body
    assert get(api, "/readyz")[0] == 503
    assert get(api, "/healthz")[0] == 200
    api.close()


def test_a_query_without_an_end_is_503(api, monkeypatch):
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    monkeypatch.setattr(history_pages, "_RIG", endless)
    monkeypatch.setattr(history_pages, "MAX_QUERY_S", 0.05)
    status, headers, body = get(api, "/v1/history/ticks", rig="r")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert b"shorter span" in body


def test_snapshots_are_listed_newest_first(api):
    assert rows(get(api, "/v1/snapshots")) == [
        {"name": "20261121T120000Z.sqlite", "ts": 1795262400.0, "bytes": 10, "sha256": HASH,
         "checked": True},
        {"name": "20261121T110000Z.sqlite.bad", "ts": 1795258800.0, "bytes": 1, "sha256": None,
         "checked": False},
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, "", '{"verdict": "G', "[]", "\x00", "[" * 99_999])
def test_no_sound_judgement_is_503(api, tmp_path, content):
    assert json.loads(get(api, "/v1/gate")[2])["verdict"] == "GO"
    (tmp_path / "gate.json").unlink()
    if content is not None:
        (tmp_path / "gate.json").write_text(content)
    status, headers, _ = get(api, "/v1/gate")
    assert (status, headers["Retry-After"]) == (503, "5")


def test_rigs_of_a_flow_are_those_of_run_and_history(stored, history):
    history.add(0, 5, rig="former")
    time = Time()
    board = time.board(rigs=("r", "new"))
    api = ApiRoutes(stored, board)
    routes = Routes("/metrics_fusion", board, None, api)
    board.update([packet(ticks(700))])
    assert [(row["rig"], row["ts"]) for row in rows(get(routes, "/v1/rigs"))] == [
        ("former", 0.8), ("new", None), ("r", 700.0)
    ]  # fmt: skip
    routes.close()


def test_streams_have_their_state_beside_a_flow_alone(stored):
    time = Time()
    board = time.board()
    board.update([packet(ticks(0), ends=events("osc_1"))])
    time.now += 2.5
    shown = rows(
        get(Routes("/metrics_fusion", board, None, ApiRoutes(stored, board)), "/v1/streams")
    )
    assert {"rig": "r", "stream": "osc_1", "expected": True, "up": True, "age_s": 2.5} in shown
    assert {"rig": "r", "stream": "ure", "expected": True, "up": False, "age_s": None} in shown
    alone = rows(get(HistoryRoutes(ApiRoutes(stored)), "/v1/streams"))
    assert [row["stream"] for row in alone] == ["osc_1", "ure"]
    assert {row["up"] for row in alone} == {None}
