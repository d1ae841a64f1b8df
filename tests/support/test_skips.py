"""The lines at the end of a run with skipped tests."""

from tests.support.skips import lines, reason


def test_each_make_target_and_each_other_reason_has_one_line() -> None:
    reasons = [
        reason(["promtool"], "peers"), "no C compiler", reason(["oscsend", "amtool"], "peers"),
        "Skipped: " + reason(["amtool"], "peers"), reason(["JACK"], "jack"), "no C compiler",
    ]  # fmt: skip
    assert lines(reasons) == [
        "1 skipped: no JACK here: run `make jack`",
        "3 skipped: no amtool, oscsend, promtool here: run `make peers`",
        "2 skipped: no C compiler",
    ]


def test_a_run_without_skips_has_no_line() -> None:
    assert lines([]) == []
