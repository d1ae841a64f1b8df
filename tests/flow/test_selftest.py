"""The self-test of the command, over several seeds, and that it can fail."""

import pytest

from ops import selftest
from ops.__main__ import main


@pytest.fixture(autouse=True)
def _first_table_alone(monkeypatch):
    """The second is measured in tests of its own."""
    monkeypatch.setattr(selftest, "laboratory_table", lambda seed, ratios_db: "")


@pytest.mark.parametrize("seed", range(6))
def test_what_is_injected_is_found(seed, capsys):
    code = main(["selftest", "--quick", "--seed", str(seed)])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "phone:/body lag ms" in said
    assert "\n22 of 22 passed\n" in said


def test_a_missed_bar_ends_with_code_1(capsys, monkeypatch):
    monkeypatch.setattr(selftest, "QUICK_BARS", ((0.0, 0.0), (0.5, 2.0), (5.0, 10.0)))
    assert main(["selftest", "--quick"]) == 1
    said = capsys.readouterr().out
    assert said.count("FAIL") == 3
    assert "\n19 of 22 passed\n" in said
