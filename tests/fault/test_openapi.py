"""The pages, fuzzed by their OpenAPI document."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs.outputs import ExporterConfig, StoreConfig
from ops.cli.state_client import ChannelView, Indicator, RigView, SignalView, State, StreamView
from ops.fakes.ports import free_port
from sinks.exporter.api.resources import ApiRoutes
from sinks.exporter.bridge_metrics import BridgePage
from sinks.exporter.routes import Routes
from sinks.exporter.server import Server
from sources.osc.udp import listener
from tests.support.shown import NAN, Time, config, events, finding, packet, report, ticks
from tests.support.stored import History

# A document cannot state that a key is one of a former page, or that `from` is at most `to`.
SETTINGS = """
[[operations]]
include-path-regex = "^/v1/history/"
parameters = { rig = "r" }
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 503]
"""
DOCUMENT = Path(__file__).parents[2] / "configs" / "schemas" / "openapi.json"


@pytest.fixture
def kept(tmp_path):
    """Return a configuration with a history and a judgement."""
    history = History(tmp_path / "kept" / "history.sqlite")
    history.add(0, 400)
    history.store.close()
    (tmp_path / "gate.json").write_text('{"verdict": "GO"}')
    exporter = ExporterConfig(gate_file=str(tmp_path / "gate.json"))
    return config(store=StoreConfig(dsn=history.dsn), exporter=exporter)


@pytest.fixture
def serve(kept):
    """Return a server of a live state with packets, and its address."""
    servers = []

    def _serve(*packets):
        port = free_port()
        board = Time().board()
        board.update([*packets])
        metrics = {"/metrics_bridge": BridgePage(board).text}
        api = ApiRoutes(kept if packets else config(), board)
        routes = Routes(ExporterConfig().path, board, metrics, api)
        servers.append(Server(ExporterConfig(http_port=port), board, listener, routes))
        servers[-1].start()
        return f"http://127.0.0.1:{port}"

    yield _serve
    for server in servers:
        server.stop()


def fuzz(document, url, folder, *arguments):
    """Ask everything that the document allows and much that it does not."""
    settings = folder / "schemathesis.toml"
    settings.write_text(SETTINGS)
    return subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "--config-file", settings, "run",
         document, "--url", url,
         "--checks", "all", "--generation-deterministic",
         "--max-response-time", "2", "--no-color", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


BEGUN = [
    packet(ticks(i, coherence=NAN if i % 2 else 0.9), sync=(report("osc_1:p"),),
           ends=events("osc_1"), evidence=(finding(float(i)), finding(i + 0.5, "b")))
    for i in range(200)
]  # fmt: skip


@pytest.mark.parametrize(
    ("packets", "arguments"),
    # Not ready is 503, as documented; no other 5xx is documented.
    [
        ([], ("--max-examples", "5", "--exclude-checks", "not_a_server_error")),
        (BEGUN, ("--max-examples", "25")),
    ],
    ids=["before the first tick", "under way"],
)
def test_every_answer_is_as_the_document_specifies(serve, tmp_path, packets, arguments):
    done = fuzz(DOCUMENT, serve(*packets), tmp_path, *arguments)
    assert done.returncode == 0, done.stdout[-4000:]
    routes = len(json.loads(DOCUMENT.read_text())["paths"])
    assert f"Tested: {routes}" in done.stdout


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/readyz", lambda get: get["responses"].pop("503")),
        ("/evidence/bundle", lambda get: get["parameters"][1]["schema"].update(maximum=2000)),
        ("/healthz", lambda get: get["responses"].update({"200": {
            "description": "", "content": {"text/html": {"schema": {"type": "string"}}}}})),
        ("/state", lambda get: get["responses"]["200"]["content"]["application/json"].update(
            schema={"type": "object", "required": ["colour"]})),
        ("/v1/rigs", lambda get: get["responses"]["200"].update(
            content={"application/json": {"schema": {"type": "object", "required": ["colour"]}}})),
        ("/v1/gate", lambda get: get["responses"].pop("200")),
        ("/v1/history/ticks", lambda get: get["responses"].pop("400")),
    ],
)  # fmt: skip
def test_a_document_that_is_wrong_is_found_out(serve, tmp_path, path, wrong):
    document = json.loads(DOCUMENT.read_text())
    wrong(document["paths"][path]["get"])
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    url = serve(*(BEGUN[:30] if path.startswith("/v1/") else ()))
    done = fuzz(tmp_path / "wrong.json", url, tmp_path, "--include-path", path,
                "--max-examples", "5")  # fmt: skip
    assert done.returncode == 1, done.stdout[-4000:]


@pytest.mark.parametrize("kind", [State, RigView, SignalView, Indicator, StreamView, ChannelView])
def test_readers_of_the_state_have_no_field_that_the_document_lacks(kind):
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    within = schemas["Rig"]["properties"]
    documented = {
        SignalView: within["signals"]["additionalProperties"],
        Indicator: within["indicators"]["additionalProperties"],
    }.get(kind) or schemas[kind.__name__.removesuffix("View")]
    assert set(kind.__struct_fields__) <= set(documented["required"])
    assert set(documented["required"]) == set(documented["properties"])
    assert documented["additionalProperties"] is False
