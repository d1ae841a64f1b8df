"""The drawing in the README shows the flow that runs."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from bytewax.visualize import to_mermaid

from flows.fusion import flow

ROOT = Path(__file__).parents[2]
# The address of all stored state: a change of a name or of the order orphans every store.
STEPS = [
    "receive", "collect", "normalize", "drift", "guard", "align", "resample", "scale", "quality",
    "fuse", "bridge", "evidence", "sinks",
]  # fmt: skip


@pytest.fixture(scope="module")
def dataflow():
    return flow(str(ROOT / "configs/fusion.yaml"))


@pytest.fixture(autouse=True)
def where_the_shipped_configuration_is_at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def stations(drawing):
    """Return the names in a mermaid drawing in the order in which arrows lead to them."""
    chains = [
        [re.sub(r'\[".*"\]', "", name).strip().removeprefix("lumen.") for name in names]
        for line in drawing.splitlines()
        if len(names := re.split(r"-->|-- .* -->", line)) > 1
    ]
    after = {a: b for chain in chains for a, b in pairwise(chain)}
    assert len(after) == sum(len(chain) - 1 for chain in chains), "one way forward"
    (first,) = set(after) - set(after.values())
    order = [first]
    while order[-1] in after:
        order.append(after[order[-1]])
    return order


def test_the_steps_keep_their_names_and_order(dataflow):
    assert [step.step_name for step in dataflow.substeps] == STEPS
    assert dataflow.flow_id == "lumen"


def test_the_engine_draws_one_lane(dataflow):
    assert stations(to_mermaid(dataflow)) == STEPS


def test_the_readme_draws_what_the_engine_does(dataflow):
    readme = (ROOT / "README.md").read_text("utf-8")
    (drawing,) = re.findall(r"```mermaid\n(flowchart.*?)```", readme, re.S)
    assert stations(drawing) == ["sources", *stations(to_mermaid(dataflow))]


def test_the_readme_describes_every_station():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", readme, re.M)[: len(STEPS) - 1] == STEPS[:-1]
