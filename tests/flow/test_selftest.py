"""The self-test of the command, over several seeds, and that it can fail."""

from __future__ import annotations

import re

import msgspec
import pytest

from ops.__main__ import main
from ops.cli import selftest
from ops.evaluate import single_seed as single
from ops.evaluate.accuracy import bars as pooled


@pytest.fixture
def first_table_alone(monkeypatch):
    """The second is measured in tests of its own."""
    monkeypatch.setattr(selftest, "accurate", lambda seed, ratios_db: ("", 1, 1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("first_table_alone")
def test_what_is_injected_is_found(seed, capsys):
    code = main(["selftest", "--quick", "--seed", str(seed)])
    output = capsys.readouterr().out
    assert code == 0, output
    assert "phone:/body lag ms" in output
    assert "\n22 of 22 passed\n" in output


@pytest.mark.usefixtures("first_table_alone")
def test_a_missed_bar_ends_with_code_1(capsys, monkeypatch):
    table = msgspec.structs.replace(single.table(), checks={"quick": {}})
    monkeypatch.setattr(single, "table", lambda: table)
    assert main(["selftest", "--quick"]) == 1
    output = capsys.readouterr().out
    assert output.count("FAIL") == 10
    assert "\n12 of 22 passed\n" in output


def test_a_newcomer_sees_no_fault_of_a_healthy_build(capsys):
    code = main(["selftest", "--quick", "--seed", "1"])
    output = capsys.readouterr().out
    assert code == 0, output
    figures = output.partition("passed")[2].partition("within")[0]
    assert "fused RMSE / oracle" in figures and "!" not in figures
    assert "21 of 21 within their bars" in output


def test_an_accuracy_beyond_its_bar_ends_with_code_1(capsys, monkeypatch):
    nothing = dict.fromkeys((bar.key for bar in pooled(20.0)), 0.0)
    monkeypatch.setattr(selftest, "recorded", lambda seed, quick: [])
    monkeypatch.setattr(selftest, "measure", lambda seeds, r: _Measured(nothing))
    assert main(["selftest", "--quick"]) == 1
    output = capsys.readouterr().out
    assert "of 21 within their bars" in output and re.search(r"\d!", output)


class _Measured:
    def __init__(self, figures):
        self._figures = figures

    def figures(self):
        return self._figures
