"""URE: a thread that scrapes a page of Prometheus text on a fixed beat, into the inbox.

Each pull is one GET with one deadline, then all of the page or nothing of it. There is one at a
time, on a beat that does not drift; the next beat is the retry, and there is no faster one. All
samples of a page share the arrival of its end; those with stamps of their own keep them as source
time. A series that is not there is not heard, and so goes stale: nothing stands in for it.

Losses: pages that cannot be used, one event each (`http`, `timeout`, `too_long`, `exposition`);
single samples (`value`, `stamp`, `too_long`), series that are not wanted (`filtered`) or say
what they said before (`repeated`), counted. Where nothing answers, nothing is lost: it is down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil, inf

from configs.document import public_url
from configs.schema import UreStream
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE
from operators.plan import matches
from sources.inbox import NEVER, Listener, Unread
from sources.ure.credentials import Credentials
from sources.ure.exposition import PageDecoder, PageError
from sources.ure.http_get import Deadline, HttpEndpoint, StoppedError

_AGAIN_S = 60.0


def endpoint(config: UreStream) -> HttpEndpoint:
    """Return where a stream's page is, with the credentials that it asks for."""
    if config.basic_auth is not None:
        own = Credentials(config.basic_auth.password_file, config.basic_auth.username)
        return HttpEndpoint(config.metrics_url, own)
    if config.bearer_token_file is not None:
        return HttpEndpoint(config.metrics_url, Credentials(config.bearer_token_file))
    return HttpEndpoint(config.metrics_url)


class UreScraper(Listener):
    """One endpoint."""

    def __init__(self, config: UreStream) -> None:
        super().__init__(config.name)
        self.config = config
        self._endpoint = endpoint(config)
        self._url = public_url(config.metrics_url)
        self._pages = PageDecoder(self._wants)
        self._faulty_said = -inf

    def facts(self) -> Sequence[str]:
        """Return address and beat, and what is on its page."""
        beat = f"{self._url} every {self.config.pull_interval_s:g} s"
        if not self._pages.series:
            return (beat,)
        return beat, f"{self._pages.wanted} of {self._pages.series} series"

    def _run(self) -> None:
        """Pull on each beat; a pull that is under way at the stop is given up."""
        due, beat_s = time.monotonic(), self.config.pull_interval_s
        while not self._stop.is_set():
            self._pull()
            late_s = time.monotonic() - due
            due += beat_s * max(1, ceil(late_s / beat_s))
            self._stop.wait(due - time.monotonic())

    def _pull(self) -> None:
        url = self._url
        try:
            answer = self._endpoint.get(Deadline(self.config.timeout_s, self._stop.is_set))
            rx = self._inbox.host()
            self._inbox.put(
                self._pages.decode(answer.page, rx, url[:MAX_NAME_LENGTH], answer.openmetrics)
            )
            if self._pages.wanted:
                self._inbox.turn(True, ", ".join(self.facts()))
            else:
                said = f"none of its {self._pages.series} series is one of keys"
                self._inbox.turn(False, f"{url}: {said}")
        except PageError as error:
            if error.reason:
                sample = error.sample[:MAX_SAMPLE]
                self._inbox.put(
                    [Unread(self._inbox.host(), error.reason, url[:MAX_NAME_LENGTH], sample)]
                )
            self._fault(error)
            self._inbox.turn(False, f"{url}: {error.why}")
        except StoppedError:
            pass

    def _fault(self, error: PageError) -> None:
        """Quote a faulty page of an endpoint that was down for another reason, now and then."""
        now, inbox = time.monotonic(), self._inbox
        if error.reason != "exposition" or now - self._faulty_said < _AGAIN_S:
            return
        self._faulty_said = now
        if not inbox.up and inbox.why != NEVER:  # else the turn quotes it
            inbox.log(f"{self.name} is still down: {self.config.metrics_url}: {error.why}")

    def _wants(self, key: str) -> bool:
        return not self.config.keys or any(matches(known, key) for known in self.config.keys)
