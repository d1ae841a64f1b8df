"""Places of tapes: a bounded table."""

from __future__ import annotations

from sources.kafka.tape_places import MAX_TAPES, TapePlaces


def _headers(tape: str, place: int) -> list[tuple[str, bytes]]:
    return [("tape", tape.encode()), ("place", b"%d" % place)]


def test_the_table_holds_the_tapes_that_were_seen_last() -> None:
    places = TapePlaces({})
    for n in range(3 * MAX_TAPES):
        assert not places.is_known(_headers(f"t{n}", n), n)
    found = places.before(3 * MAX_TAPES)
    assert list(found) == [f"t{n}" for n in range(2 * MAX_TAPES, 3 * MAX_TAPES)]


def test_settled_entries_leave_and_their_places_stay() -> None:
    places = TapePlaces({"old": 5})
    for n in range(10):
        places.is_known(_headers("t", n), n)
    expected = places.before(10)
    places.settle(10)
    assert not places._open
    assert places.before(10) == expected == {"old": 5, "t": 9}


def test_a_known_table_drops_what_it_has_seen() -> None:
    assert TapePlaces({"t": 7}).is_known(_headers("t", 7), 0)
    assert not TapePlaces({"t": 7}).is_known(_headers("t", 8), 0)
