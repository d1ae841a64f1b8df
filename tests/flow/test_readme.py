"""The README's code is that of the project, and runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_example_of_two_arrays_finds_offset_and_lag(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    offset_s, _, lag_s, _ = map(float, [x for x in lines if x[0] == "right:x"][-1][1:])
    assert offset_s == pytest.approx(-7.0, abs=1e-3)
    assert lag_s == pytest.approx(0.2, abs=2e-3)
    assert len([x for x in lines if x[0].replace(".", "").isdigit()]) > 3


def test_the_station_lines_are_those_of_the_flow() -> None:
    flow = (ROOT / "flows" / "fusion.py").read_text("utf-8")
    lines = BLOCKS[1].splitlines()
    assert len(lines) == 12
    assert all(f"    {line}\n" in flow for line in lines)


def test_every_linked_file_exists() -> None:
    pages = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md"]
    for page in [*pages, *(ROOT / "ops" / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
