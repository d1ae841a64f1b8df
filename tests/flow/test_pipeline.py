"""The stations without an engine, and the public names, by examples that run."""

import doctest
import io

import numpy as np
import pytest
from bytewax.operators import stateful_batch  # noqa: F401  the engine is there beside the pipeline

import operators
from configs.load import load
from flows import pipeline
from flows.pipeline import STATIONS, Pipeline
from flows.stations import Settings, StationLine
from operators import Batch, Fused, Packet, Plan
from operators.align import AlignConfig
from operators.settings.plan import Member
from tests.flow.test_diagram import STEPS
from tests.support.signals import Source, every, plan, studio

TIMES = np.arange(0.0, 40.0, 0.05)


def ticks(packets):
    return [p.fused for p in packets if p.fused is not None]


def test_the_example_of_the_module_runs():
    failed, tried = doctest.testmod(pipeline)
    assert (failed, tried) == (0, 10)


def test_every_public_name_is_there():
    assert {name: getattr(operators, name) for name in operators.__all__} == {
        "Batch": Batch, "Fused": Fused, "Packet": Packet, "Plan": Plan,
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'Fuse'"):
        _ = operators.Fuse


def test_the_stations_are_those_of_the_flow():
    assert ["receive", *STATIONS, "sinks"] == STEPS


def test_a_plan_has_the_defaults_of_a_configuration(tmp_path):
    path = tmp_path / "rig.yaml"
    (tmp_path / "rows.ndjson").write_text("")
    path.write_text(
        "version: 2\n"
        f"streams: [{{name: rows, type: file, path: {tmp_path}/rows.ndjson}}]\n"
        "signals:\n"
        "  pulse: {members: {'ure:pulse': {group: ure}, 'osc_1:/pulse': {}}}\n"
        "resample: {target_hz: 20}\n"
    )
    config = load(path).config
    made, loaded = Plan.of(pulse=["ure:pulse", "osc_1:/pulse"], tick_hz=20.0), config.plan()
    same = [
        "rig", "signals", "facts", "patterns", "tick_hz", "half_width_s", "wait_s", "wait_lag_s",
        "eager", "max_disorder_s", "max_delay_s", "weights", "failover", "sync_every_s",
    ]  # fmt: skip
    assert {n: getattr(made, n) for n in same} == {n: getattr(loaded, n) for n in same}
    settings = Settings(plan=made)
    assert Settings.of(config) == Settings(plan=loaded)
    assert settings.block_s == config.block_s()


def test_a_plan_takes_members_with_known_lags():
    member = Member("x", "a:x", "sensors", 0.1, 0.001)
    (signal,) = Plan.of(x=[member, "ure:x"], rig="stage").signals
    assert signal.members == (member, Member("x", "ure:x", "ure"))


@pytest.mark.parametrize("rows", [300, 10_000])
def test_a_pipeline_gives_the_same_ticks_however_its_input_is_cut(rows):
    source = studio(
        Source(source="ure", key="pulse"), Source(offset_s=3.0, lag_s=0.1), seconds=40.0
    )
    whole = ticks(Pipeline(plan()).run([source]))
    cut = ticks(Pipeline(plan()).run(every(source, rows)))
    for name in ("ts", "released", "sync_bound_s"):
        assert np.array_equal(
            np.concatenate([getattr(f, name) for f in whole]),
            np.concatenate([getattr(f, name) for f in cut]),
            equal_nan=True,
        )


def test_rigs_have_stations_of_their_own():
    batches = [
        Batch.of({"ure:pulse": (TIMES, TIMES, np.sin(TIMES))}, rig=rig) for rig in ("one", "two")
    ]
    run = Pipeline(plan(("ure:pulse",)))
    rigs = {packet.rig for packet in run.run(batches)}
    assert rigs == {"one", "two"} == set(run.lines)
    assert run.lines["one"].cores["fuse"] is not run.lines["two"].cores["fuse"]


def test_a_line_ends_with_its_last_station():
    line = StationLine(last="drift")
    for name in ("collect", "drift", "guard"):
        line.add(name, line, lambda state: io.StringIO())
    assert list(line.cores) == ["collect", "drift"]


def test_settings_reach_the_stations():
    settings = Settings(plan=plan(), align=AlignConfig(max_lag_s=0.5), block_s=2.0)
    assert Pipeline(settings).settings is settings


# -- batches ------------------------------------------------------------------------------------


def test_rows_of_several_channels_stand_in_order_of_arrival():
    batch = Batch.of({"a:x": ([1.0, 2.0], [11.0, 13.0], [5.0, 6.0]), "b:y/z:w": ([7], [12], [8])})
    assert batch.names == (("a", "x"), ("b", "y/z:w"))
    assert batch.name.tolist() == [0, 1, 0]
    assert batch.ts.tolist() == [1.0, 7.0, 2.0]
    assert batch.rx.tolist() == [11.0, 12.0, 13.0]
    assert batch.value.tolist() == [5.0, 8.0, 6.0]
    assert batch.stamped.all()
    assert batch.end


def test_without_arrivals_rows_are_in_order_of_source_time():
    batch = Batch.of({"a:x": ([1.0, 3.0], None, [5.0, 6.0]), "b:x": (None, [2.0], [7.0])})
    assert batch.rx.tolist() == [1.0, 2.0, 3.0]
    assert np.array_equal(batch.ts, [1.0, np.nan, 3.0], equal_nan=True)
    assert not batch.stamped.any()


@pytest.mark.parametrize(
    ("channels", "fault"),
    [
        ({"x": ([1.0], [1.0], [1.0])}, "'x' is no channel, expected <source>:<key>"),
        ({"a:x": ([1.0, 2.0], [1.0], [1.0])}, "arrays of 2, 1, 1 rows, expected equal lengths"),
        ({"a:x": (None, None, [1.0])}, "neither source times nor arrivals"),
        ({"a:x": ([1.0], [1.0], [np.nan])}, "a time or value is not finite"),
        ({"a:x": ([np.inf], [1.0], [1.0])}, "a time is not finite"),
    ],
)
def test_a_faulty_array_is_refused(channels, fault):
    with pytest.raises(ValueError, match=fault):
        Batch.of(channels)


def test_an_empty_batch_ends_its_rig():
    assert Batch.of({}).end
    assert list(Pipeline(plan()).run([Batch.of({})])) != []
