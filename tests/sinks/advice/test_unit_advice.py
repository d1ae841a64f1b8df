"""Members in unlike units are named, with the line that mends it."""

from __future__ import annotations

from types import SimpleNamespace

import yaml

from sinks.advice.units import unlike


def line(gain: float | None, sd: float | None = 0.01, state: str = "given") -> SimpleNamespace:
    return SimpleNamespace(gain=gain, gain_sd=sd, scale_state=state)


def test_the_odd_one_of_three_is_named_with_its_ratio() -> None:
    (found,) = unlike("abc", {"a": line(1.0), "b": line(9.81), "c": line(1.02)})
    assert (found.channel, found.other) == ("b", "c")
    assert f"{found.ratio:.2f}" == "9.62"


def test_of_two_the_first_stands_for_the_signal() -> None:
    (found,) = unlike("ab", {"a": line(3.0), "b": line(1.0)})
    assert (found.channel, found.other) == ("b", "a")


def test_the_remedy_is_yaml() -> None:
    (found,) = unlike(['a:"x"', "b:x"], {'a:"x"': line(1.0), "b:x": line(2.0)})
    written = yaml.safe_load(found.text.partition("channels: ")[2])
    assert written == {"b:x": {"gain": "auto", "offset": "auto"}}


def test_equal_unknown_and_learnt_gains_are_not_named() -> None:
    for other in (line(1.05), line(2.0, 0.5), line(None), line(2.0, state="live")):
        assert not list(unlike("ab", {"a": line(1.0), "b": other}))
    assert not list(unlike("ab", {"a": line(1.0)}))
