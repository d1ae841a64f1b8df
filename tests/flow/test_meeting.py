"""The processes of a cluster wait for one another, and end with one another."""

import itertools
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows import lifeline
from flows.cluster import Place
from flows.cluster_link import LinkLine, split_address
from flows.lifeline import Lifeline
from flows.meeting import STOPPED, ClusterError, ClusterStoppedError, Meeting, OtherRunError
from ops.engine_runs import cluster, command, make_store, written
from ops.fakes.ports import free_port
from sources.host.shutdown import Shutdown
from tests.flow.test_processes import configured, recordings
from tests.support.waiting import HUNG_S, until


def addresses(count):
    return ";".join(f"127.0.0.1:{free_port()}" for _ in range(count))


def met(place, fingerprint="one", wait_s=HUNG_S, shutdown=None, **more):
    return Meeting(place, fingerprint, wait_s, shutdown or Shutdown(), **more).complete()


def close(*groups):
    for links in groups:
        for link in links.values():
            link.close()


def connected(address):
    """Return a connection to an address at which a process begins to listen."""
    found = []

    def reached():
        try:
            found.append(socket.create_connection(split_address(address), timeout=HUNG_S))
        except OSError:
            return False
        return True

    until(reached)
    return found[0]


def test_processes_meet_in_any_order():
    named = addresses(3)
    for order in itertools.permutations(range(3)):
        with ThreadPoolExecutor(3) as pool:
            futures = {}
            for number in order:
                futures[number] = pool.submit(met, Place(number, named))
                time.sleep(0.02)
            links = {number: future.result(HUNG_S) for number, future in futures.items()}
        assert {number: sorted(each) for number, each in links.items()} == {
            0: [1, 2],
            1: [0],
            2: [0],
        }
        close(*links.values())


def test_a_line_names_the_missing_processes_each_ten_seconds_and_the_wait_has_an_end():
    named = addresses(3)
    clock = itertools.count(0.0, 4.0)
    lines = []
    with pytest.raises(ClusterError) as raised:
        met(Place(0, named), wait_s=30, clock=lambda: next(clock), write=lines.append)
    one, two = (f"process {n} ({named.split(';')[n]})" for n in (1, 2))
    assert lines == [
        f"lumen: waits for {one}, {two} (12 of 30 s)",
        f"lumen: waits for {one}, {two} (24 of 30 s)",
    ]
    assert raised.value.exit_code == 1
    assert str(raised.value) == (
        f"the cluster is not complete after 30 s (cluster.wait_s): waited for {one}, {two}"
    )


def test_a_waiting_process_names_those_that_process_0_misses():
    named = addresses(3)
    lines, shutdown = [], Shutdown()
    clock = itertools.count(0.0, 11.0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(met, Place(0, named), shutdown=shutdown, write=lambda line: None)
        second = pool.submit(
            met,
            Place(1, named),
            wait_s=1e9,
            shutdown=shutdown,
            clock=lambda: next(clock),
            write=lines.append,
        )
        until(lambda: any("waits for process 2 (" in line for line in lines))
        shutdown.request()
        for future in (first, second):
            with pytest.raises(ClusterStoppedError, match=STOPPED) as raised:
                future.result(HUNG_S)
            assert raised.value.exit_code == 0


def test_a_process_that_ends_at_the_meeting_is_missing_again():
    named = addresses(3)
    first_address = named.split(";")[0]
    with ThreadPoolExecutor(3) as pool:
        shutdown = Shutdown()
        gone = pool.submit(met, Place(1, named), shutdown=shutdown)
        first = pool.submit(met, Place(0, named))
        connected(first_address).close()
        shutdown.request()
        with pytest.raises(ClusterStoppedError):
            gone.result(HUNG_S)
        links = [pool.submit(met, Place(n, named)).result for n in (2, 1)]
        close(first.result(HUNG_S), *(result(HUNG_S) for result in links))


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"lumen 1\n", b"\xff" * 5000, b""])
def test_strangers_do_not_disturb_the_meeting(sent):
    named = addresses(2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(met, Place(0, named))
        with connected(named.split(";")[0]) as stranger:
            stranger.sendall(sent)
            second = pool.submit(met, Place(1, named))
            links = first.result(HUNG_S), second.result(HUNG_S)
    assert [sorted(each) for each in links] == [[1], [0]]
    close(*links)


def test_a_process_of_another_configuration_is_refused():
    named = addresses(2)
    shutdown = Shutdown()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(met, Place(0, named), shutdown=shutdown)
        with pytest.raises(OtherRunError, match="another configuration") as raised:
            met(Place(1, named), "two")
        assert raised.value.exit_code == 2
        assert not first.done()
        shutdown.request()


def test_a_taken_address_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = f"127.0.0.1:{taken.getsockname()[1]}"
        clock = itertools.count()
        with pytest.raises(ClusterError, match=rf"{own}, its own address: Address already in use"):
            met(Place(1, f"127.0.0.1:1;{own}"), wait_s=2, clock=lambda: next(clock))


@pytest.mark.parametrize("wrong", ["127.0.0.1", "127.0.0.1:x", ":2101", "host:70000"])
def test_an_address_without_host_or_port_is_named(wrong):
    with pytest.raises(OtherRunError, match=f"-a: {wrong} is no HOST:PORT"):
        met(Place(0, f"127.0.0.1:2101;{wrong}"))


# -- lifeline ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _threads_end():
    yield
    _join()


def _join():
    for thread in threading.enumerate():
        if thread.name == "cluster":
            thread.join(HUNG_S)


def linked(monkeypatch, count):
    """Return the lifelines of processes and the losses that ended each."""
    monkeypatch.setattr(lifeline, "GRACE_S", 0.0)
    named = addresses(count)
    lines, ends = [Lifeline() for _ in range(count)], [[] for _ in range(count)]
    pairs = {n: tcp_pair() for n in range(1, count)}
    # A process has one end of each pair.
    lines[0].start(Place(0, named), {n: pair[0] for n, pair in pairs.items()}, ends[0].append)
    for number in range(1, count):
        lines[number].start(Place(number, named), {0: pairs[number][1]}, ends[number].append)
    return lines, ends, named


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return [LinkLine(server.accept()[0]), LinkLine(one)]


def test_a_loss_ends_all_other_processes(monkeypatch):
    lines, ends, named = linked(monkeypatch, 4)
    lines[2].failed = True
    lines[2].close()
    expected = f"process 2 ({named.split(';')[2]}) of the cluster has ended"
    for number in (0, 1, 3):
        until(lambda number=number: ends[number])
        assert ends[number] == [expected]
        assert lines[number].lost() == expected
    assert ends[2] == []


def test_a_farewell_is_no_loss(monkeypatch):
    lines, ends, _ = linked(monkeypatch, 3)
    for each in reversed(lines):
        each.close()
    _join()
    assert ends == [[], [], []]
    assert [each.lost() for each in lines] == ["", "", ""]


def test_a_failed_process_says_no_farewell(monkeypatch):
    lines, ends, _ = linked(monkeypatch, 2)
    lines[1].failed = True
    lines[1].close()
    until(lambda: ends[0])
    assert lines[0].lost().startswith("process 1 ")


# -- processes -----------------------------------------------------------------------------------


def test_a_process_alone_gives_up_with_exit_code_1(tmp_path):
    path, _ = configured(tmp_path, recordings(tmp_path, seconds=2.0))
    path.write_text(path.read_text()[:-1] + ', "cluster": {"wait_s": 1}}')
    for argv in cluster(command(path), 2):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10 * HUNG_S)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("lumen: the cluster is not complete after 1 s (cluster.wait_s)")


def test_a_stop_ends_the_wait_in_order(tmp_path):
    path, _ = configured(tmp_path, recordings(tmp_path, seconds=2.0))
    argv = cluster(command(path), 2)[0]
    child = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    connected(argv[-1].split(";")[0]).close()
    child.send_signal(signal.SIGTERM)
    _, message = child.communicate(timeout=HUNG_S)
    assert (child.returncode, message.strip()) == (0, STOPPED)


def test_a_killed_process_ends_the_other_with_a_readable_reason(tmp_path):
    path, out = configured(tmp_path, recordings(tmp_path))
    store = make_store(tmp_path / "store")
    commands = cluster(command(path, store), 2)
    children = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for argv in commands]
    until(lambda: written(out) > 20_000, process=children[0])
    children[1].kill()
    _, message = children[0].communicate(timeout=HUNG_S)
    children[1].communicate(timeout=HUNG_S)
    assert children[0].returncode == 1
    address = commands[0][-1].split(";")[1]
    lines = [line for line in message.splitlines() if "events/s" not in line]
    assert f"lumen: process 1 ({address}) of the cluster has ended" in lines
    assert "traceback" not in message.lower()
    assert "panicked" not in message
