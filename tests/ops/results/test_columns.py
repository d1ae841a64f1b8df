"""`ops.results.open`: a real run as numpy columns, also one killed, rotated or of two rigs."""

from __future__ import annotations

import builtins
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np
import pytest

import ops.results
from flows.run import execute
from operators.lines import BridgeFrame, DeadLine, EvidenceRecord, MarkerLine, SyncReport
from ops.results import columns
from ops.results.columns import TABLES, TableColumns
from ops.simulate.recording import make, write
from ops.simulate.scenario import Scenario, Sensor
from tests.support import skips
from tests.support.json_lines import json_lines

CONFIG = """\
version: 2
streams:
  - {{name: recording, type: file, path: r.ndjson, speed: 0}}
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {{group: ure}}
      "phone:/body": {{group: sensors}}
output: {{dir: out, aligned: true, rotate_mb: {rotate_mb}, keep: {keep}}}
"""


def scenario(rig: str | None = None) -> Scenario:
    sensors = (
        Sensor("ure", "pulse", 20.0, "ure"),
        Sensor("phone", "/body", 25.0, lag_s=0.2, offset_s=2.0, duplicates=3),
    )
    return Scenario(seconds=20.0, sensors=sensors, rig=rig, damaged=2)


def run(place: Path, rotate_mb: float = 256, keep: int = 0, rigs: tuple[str, ...] = ()) -> Path:
    """Run a recording of 20 s; return the folder of the results."""
    recordings = [make(scenario(rig), seed) for seed, rig in enumerate(rigs or (None,))]
    write(place / "r.ndjson", *recordings)
    with (place / "r.ndjson").open("a") as file:
        file.write('{"ts":1.5,"source":"note","key":"text","value":"3,5"}\n')
    config = place / "r.yaml"
    config.write_text(CONFIG.format(rotate_mb=rotate_mb, keep=keep))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return place / execute(config, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("run"))


def parsed(folder: Path, stem: str) -> list[dict[str, Any]]:
    return json_lines(folder / f"{stem}.jsonl")


def flat(value: Any, name: str = "") -> Mapping[str, Any]:
    """Return the scalars of a JSON value by their dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    dot = f"{name}." if name else ""
    return {k: v for key, part in value.items() for k, v in flat(part, dot + key).items()}


@pytest.mark.parametrize("stem", TABLES)
def test_each_table_has_every_field_of_its_file(folder: Path, stem: str) -> None:
    lines = parsed(folder, stem) if (folder / f"{stem}.jsonl").exists() else []
    table = getattr(ops.results.open(folder), stem)
    assert table.rows == len(lines)
    assert {name for line in lines for name in flat(line)} <= set(table)
    for row, line in enumerate(lines):
        for name, value in flat(line).items():
            found = table[name][row]
            if value is None:
                assert found is None or np.isnan(found)
            else:
                assert found == value


def test_the_run_has_ticks_reports_duplicates_and_damaged_lines(folder: Path) -> None:
    found = ops.results.open(str(folder))
    assert found.fused.rows > 50
    assert np.isfinite(found.fused["signals.pulse.value"]).mean() > 0.8
    assert {"ure:pulse", "phone:/body"} <= set(found.sync["channel"])
    assert found.markers["value"].tolist() == []
    assert found.dead["count"].sum() == 3
    assert found.run["account"]["total"]["duplicate"] == 3
    assert list(found.rigs) == ["studio"]
    assert found.aligned.rows > 500


def test_kinds_of_columns(folder: Path) -> None:
    found = ops.results.open(folder)
    assert found.fused["live"].dtype == np.int64
    assert found.fused["sync_bound_s"].dtype == np.float64
    assert found.fused["mode"].dtype == object
    assert found.sync["hindsight"].dtype == np.bool_
    assert found.sync["lag_s"].dtype == np.float64
    assert found.evidence["quote"].dtype == object
    assert found.evidence.rows == 0


def test_a_killed_run_lacks_its_torn_line_and_its_account(folder: Path, tmp_path: Path) -> None:
    for stem in ("fused", "sync"):
        whole = (folder / f"{stem}.jsonl").read_bytes()
        (tmp_path / f"{stem}.jsonl").write_bytes(whole[:-40])
    whole, torn = ops.results.open(folder), ops.results.open(tmp_path)
    assert torn.run == {}
    (rig,) = torn.rigs.values()
    for name in ("fused", "sync"):
        assert getattr(torn, name).rows == getattr(whole, name).rows - 1
    assert np.array_equal(torn.fused["ts"], whole.fused["ts"][:-1])
    assert rig.unread == 2
    assert torn.dead.rows == torn.markers.rows == 0


def test_a_rotated_run_reads_as_one(folder: Path, tmp_path: Path) -> None:
    rotated = ops.results.open(run(tmp_path, rotate_mb=0.01))
    assert len(list((tmp_path / "out").glob("fused*.jsonl"))) > 3
    whole = ops.results.open(folder)
    for name, column in whole.fused.items():
        same = rotated.fused[name] == column
        assert (same | (column != column)).all(), name


def test_a_run_without_its_first_segment_is_found(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "fused.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "fused.000002.jsonl").write_bytes(b"".join(lines[20:]))
    assert ops.results.open(tmp_path).fused.rows == len(lines) - 20


def test_several_rigs_are_chosen_by_name(tmp_path: Path) -> None:
    found = ops.results.open(run(tmp_path, rigs=("left", "right")))
    assert set(found.rigs) >= {"left", "right"}
    assert found.rigs["left"].fused.rows > 50
    assert set(found.rigs["right"].fused["rig"]) == {"right"}
    with pytest.raises(ValueError, match="rigs"):
        _ = found.fused


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results of a run"):
        ops.results.open(tmp_path)


def test_a_column_that_appears_late_is_null_before(tmp_path: Path) -> None:
    lines = [{"ts": 0.0, "rule": "a", "facts": {}}, {"ts": 1.0, "rule": "b", "facts": {"x": 2.0}}]
    (tmp_path / "evidence.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "fused.jsonl").touch()
    evidence = ops.results.open(tmp_path).evidence
    assert np.isnan(evidence["facts.x"][0])
    assert evidence["facts.x"][1] == 2.0
    assert evidence["quote"].tolist() == [None, None]


@pytest.mark.parametrize(
    ("stem", "written"),
    [
        ("sync", SyncReport),
        ("evidence", EvidenceRecord),
        ("dead", DeadLine),
        ("markers", MarkerLine),
        ("bridge", BridgeFrame),
    ],
)
def test_the_schema_read_is_the_schema_written(stem: str, written: type[msgspec.Struct]) -> None:
    assert set(TABLES[stem].__struct_fields__) == set(written.__struct_fields__)
    read = get_type_hints(TABLES[stem])
    for name, hint in get_type_hints(written).items():
        if hint in (int, float, bool, int | None, float | None):
            assert (read[name] == hint) or read[name] == hint | None, name


@pytest.mark.parametrize("method", ["to_pandas", "to_polars", "to_parquet"])
def test_a_missing_package_is_named(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(columns.importlib, "import_module", absent)
    arguments = ("x.parquet",) if method == "to_parquet" else ()
    with pytest.raises(ImportError, match=rf"{method}\(\) needs .*: pip install "):
        getattr(TableColumns({"ts": np.zeros(1)}), method)(*arguments)


def needs(*packages: str) -> pytest.MarkDecorator:
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=skips.reason(absent, "tables"))


@needs("pandas")
def test_a_pandas_frame_has_the_columns(folder: Path) -> None:
    found = ops.results.open(folder)
    frame = found.fused.to_pandas()
    assert list(frame.columns) == list(found.fused)
    assert len(frame) == found.fused.rows
    assert set(found.to_pandas()) == set(TABLES)


@needs("polars")
def test_a_polars_frame_has_nulls_for_nan(folder: Path) -> None:
    found = ops.results.open(folder)
    frame = found.sync.to_polars()
    assert frame["lag_s"].null_count() == np.isnan(found.sync["lag_s"]).sum()
    assert frame["channel"].to_list() == found.sync["channel"].tolist()
    assert set(found.to_polars()) == set(TABLES)


@needs("polars", "pyarrow")
@pytest.mark.parametrize("absent", ["", "pyarrow"])
def test_parquet_files_read_back(
    folder: Path, tmp_path: Path, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars

    load = importlib.import_module

    def some(name: str) -> Any:
        if absent and name.startswith(absent):
            raise ImportError(name)
        return load(name)

    monkeypatch.setattr(columns.importlib, "import_module", some)
    found = ops.results.open(folder)
    found.to_parquet(tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == set(TABLES)
    frame = polars.read_parquet(tmp_path / "tables" / "fused.parquet")
    assert frame["ts"].to_list() == found.fused["ts"].tolist()
    assert frame["sync_bound_s"].null_count() == np.isnan(found.fused["sync_bound_s"]).sum()


def test_open_leaves_the_builtin_alone() -> None:
    assert ops.results.open is not builtins.open
    assert sorted(ops.results.__all__) == ["RigColumns", "RunColumns", "TableColumns", "open"]
