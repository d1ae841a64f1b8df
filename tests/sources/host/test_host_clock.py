import numpy as np
import pytest

from sources.host.host_clock import HostClock

START = 1_750_000_000_000_000_000


class Clocks:
    """A machine's clocks: `now` passes (s), and the wall clock is set `ahead` (s)."""

    def __init__(self):
        self.now = self.ahead = 0.0

    def steady(self):
        return round(self.now * 1e9)

    def wall(self):
        return START + round((self.now + self.ahead) * 1e9)

    def host(self, boot="this"):
        return HostClock(self.wall, self.steady, boot)

    def kernel(self):
        """Return what the kernel stamps now (us)."""
        return np.array([self.wall() // 1000])


@pytest.fixture
def clocks():
    return Clocks()


@pytest.mark.parametrize("step", [-3600.0, -1.0, -0.002, 0.002, 1.0, 3600.0])
def test_host_time_goes_on_through_a_step_which_is_seen_once(clocks, step):
    host = clocks.host()
    clocks.now = 1.0
    assert host.steps() == []
    clocks.now, clocks.ahead = 1.05, step
    assert host() == START / 1e9 + 1.05
    assert host.steps() == [(START / 1e9 + 1.05, pytest.approx(step, abs=1e-9))]
    assert host.steps() == []
    assert host.ahead_s == pytest.approx(step, abs=1e-9)


def test_steps_that_are_too_small_are_seen_once_they_are_a_millisecond_together(clocks):
    host = clocks.host()
    for n in range(1, 4):
        clocks.ahead = n * 0.0004
        found = host.steps()
    assert [step for _, step in found] == [pytest.approx(0.0012)]


@pytest.mark.parametrize("step", [-3600.0, -25.0, -1.0, 1.0, 3600.0])
def test_stamps_of_the_kernel_from_both_sides_of_a_step_are_host_time(clocks, step):
    host = clocks.host()
    clocks.now = 1.0
    host.look()
    clocks.now = 1.01
    before = clocks.kernel()
    clocks.now, clocks.ahead = 1.02, step
    after = clocks.kernel()
    clocks.now = 1.03
    found = host.of_wall(np.concatenate([before, after])) - START / 1e9
    assert found == pytest.approx([1.01, 1.02], abs=2e-6)
    clocks.now = 1.04
    assert host.of_wall(before) - START / 1e9 == pytest.approx([1.01], abs=2e-6)


def test_stamps_of_several_steps_each_go_with_their_own(clocks):
    host, stamps = clocks.host(), []
    for n, step in enumerate((0.0, -5.0, 100.0, 99.0)):
        clocks.now, clocks.ahead = n / 10, step
        host.look()
        clocks.now += 0.05
        stamps.append(clocks.kernel())
        host.look()
    assert host.of_wall(np.concatenate(stamps)) - START / 1e9 == pytest.approx(
        [0.05, 0.15, 0.25, 0.35], abs=2e-6
    )


def test_no_stamp_is_of_the_future(clocks):
    host = clocks.host()
    clocks.now = 2.0
    assert host.of_wall(clocks.kernel() + 5_000_000) == pytest.approx([host()], abs=1e-6)


def test_a_clock_that_is_read_slowly_is_no_step():
    now = 0

    def slow():
        nonlocal now
        now += 30_000_000
        return now

    host = HostClock(lambda: START + slow(), slow, "")
    for _ in range(20):
        assert host.steps() == []


def test_in_the_same_boot_a_run_goes_on_with_its_axis(clocks):
    axis = clocks.host().axis()
    clocks.now, clocks.ahead = 60.0, -3600.0
    again = clocks.host()
    again.resume(axis)
    assert again() == START / 1e9 + 60.0
    assert [step for _, step in again.steps()] == [-3600.0]


def test_the_wall_clock_is_the_reference_after_a_boot_and_the_distance_is_kept(clocks):
    first = clocks.host()
    clocks.ahead = -3600.0
    assert len(first.steps()) == 1
    other = Clocks()
    other.now, other.ahead = 5.0, -3600.0 + 95.0
    again = other.host("next")
    again.resume(first.axis())
    assert again() == START / 1e9 + 100.0
    assert again.steps() == []


def test_host_time_is_moved_forth_behind_the_newest_arrival_and_never_back(clocks):
    host = clocks.host()
    clocks.now = 1.0
    assert host.not_before(START / 1e9 + 0.5) == 0.0
    assert host.not_before(float("-inf")) == 0.0
    assert host.not_before(START / 1e9 + 11.0) == pytest.approx(10.0, abs=1e-5)
    assert host() == pytest.approx(START / 1e9 + 11.0, abs=1e-5)
    assert [step for _, step in host.steps()] == [pytest.approx(-10.0, abs=1e-5)]
    assert host.of_wall(clocks.kernel()) == pytest.approx([host()], abs=2e-6)


def test_the_clocks_of_this_machine_agree():
    host = HostClock()
    assert host.steps() == []
    before = host()
    assert before <= host() < before + 60.0
