"""Names of a run: which are admitted, and the memory that they take."""

import tracemalloc

from operators.limits import MAX_NAMES
from sources.rows.admission import Admission


def test_the_first_names_are_admitted_and_no_more_and_a_resumed_run_has_the_same() -> None:
    admission = Admission(max_names=3000)
    names = [("a", f"/random/{n}") for n in range(5000)]
    assert [admission.admits(*name) for name in names] == [True] * 3000 + [False] * 2000
    resumed = Admission(known=admission.snapshot(), max_names=3000)
    for each in (admission, resumed):
        assert [each.admits(*name) for name in names] == [True] * 3000 + [False] * 2000
    assert resumed.snapshot() == admission.snapshot()


def test_the_names_of_a_run_take_less_than_two_mebibytes() -> None:
    tracemalloc.start()
    admission = Admission()
    for n in range(MAX_NAMES):
        admission.admits("a", f"/random/{n}")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(admission.snapshot()) == 8 * MAX_NAMES
    assert held < 2 << 20
