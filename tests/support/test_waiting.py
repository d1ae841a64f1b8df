"""The wait of tests: it ends by its condition, by its ceiling or by the end of a program."""

import subprocess
import sys

import pytest

from tests.support import waiting
from tests.support.waiting import until


def test_a_wait_ends_when_its_condition_holds() -> None:
    left = [1, 2, 3]
    until(lambda: not left or left.clear())
    assert left == []


@pytest.mark.parametrize(
    ("subject", "message"),
    [(None, "hung for 0.01 s: .*bool"), (lambda: "the third line", "hung for 0.01 s: the third")],
)
def test_a_hung_wait_fails_with_its_subject(monkeypatch, subject, message) -> None:
    monkeypatch.setattr(waiting, "HUNG_S", 0.01)
    with pytest.raises(AssertionError, match=message):
        until(lambda: bool(""), subject)


def test_the_end_of_a_program_ends_its_wait() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="the program ended by 3: its page"):
        until(lambda: False, lambda: "its page", process)
