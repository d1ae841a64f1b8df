"""Signals request the end of the sources of one run; afterwards they mean the same as before."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sources.host.shutdown import Shutdown
from sources.host.signal_shutdown import SignalShutdown

ROOT = Path(__file__).parents[3]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handlers():
    return {number: signal.getsignal(number) for number in SIGNALS}


def test_a_request_has_an_age_and_the_second_one_does_not_renew_it():
    shutdown = Shutdown()
    assert (shutdown.requested(), shutdown.age_s()) == (False, float("-inf"))
    shutdown.request()
    since = shutdown._since
    shutdown.request()
    assert shutdown.event.is_set()
    assert shutdown._since == since
    assert shutdown.age_s() >= 0


def test_one_request_is_of_one_run():
    one, other = Shutdown(), Shutdown()
    one.request()
    assert not other.requested()


def test_a_shutdown_without_signals_leaves_their_handlers_alone():
    before = handlers()
    Shutdown().start("an answer")
    assert handlers() == before


def test_a_signal_asks_for_the_end_and_a_second_interrupt_is_one():
    before = handlers()
    with SignalShutdown() as shutdown:
        elsewhere = threading.Thread(target=shutdown.start)
        elsewhere.start()
        elsewhere.join()
        assert handlers() == before
        shutdown.start()
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)
    assert handlers() == before


def test_a_hang_up_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalShutdown() as shutdown:
            shutdown.start()
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_abort_acts_and_ends_the_process_at_once():
    code = (
        "import os, signal\n"
        "from sources.host.signal_shutdown import SignalShutdown\n"
        "shutdown = SignalShutdown(); shutdown.start('the answer')\n"
        "def fail(): raise ValueError\n"
        "shutdown.at_abort(fail); shutdown.at_abort(lambda: print('acted', flush=True))\n"
        "os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)\n"
        "print('not reached', flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (130, "acted\n")
    assert done.stderr.startswith("lumen: the answer\nlumen: a second Ctrl-C: this run is aborted")
