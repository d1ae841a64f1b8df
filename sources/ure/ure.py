"""URE: a thread scrapes a page of Prometheus text at a fixed interval into the inbox.

Each pull is one GET with one deadline, and accepts a page as a whole or not at all. Pulls never
overlap, and their interval does not drift; a failed pull is retried at the next interval only.
All samples of a page share the arrival of its end; samples with stamps keep them as source time.
A missing series gives no sample, and becomes stale: no value is substituted.

Losses: rejected pages, one event each (`http`, `timeout`, `too_long`, `exposition`); rejected
samples (`value`, `stamp`, `too_long`), unwanted series (`filtered`) and duplicates (`repeated`),
counted. An endpoint that does not answer loses nothing: the stream is down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil, inf

from configs.document import public_url
from configs.inputs import UreStream
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE
from operators.settings.channels import matches
from sources.inbox import NEVER, Listener, Unread
from sources.ure.credentials import Credentials
from sources.ure.exposition import PageDecoder, PageError
from sources.ure.http_get import Deadline, HttpEndpoint, StoppedError

_QUOTE_EVERY_S = 60.0


def endpoint(config: UreStream) -> HttpEndpoint:
    """Return the endpoint of a stream, with its credentials."""
    if config.basic_auth is not None:
        own = Credentials(config.basic_auth.password_file, config.basic_auth.username)
        return HttpEndpoint(config.metrics_url, own)
    if config.bearer_token_file is not None:
        return HttpEndpoint(config.metrics_url, Credentials(config.bearer_token_file))
    return HttpEndpoint(config.metrics_url)


class UreScraper(Listener):
    """The receiver of one URE stream."""

    def __init__(self, config: UreStream) -> None:
        super().__init__(config.name)
        self.config = config
        self._endpoint = endpoint(config)
        self._url = public_url(config.metrics_url)
        self._pages = PageDecoder(self._wants)
        self._last_quote = -inf

    def facts(self) -> Sequence[str]:
        """Return address, interval, and the number of series on the page."""
        beat = f"{self._url} every {self.config.pull_interval_s:g} s"
        if not self._pages.series:
            return (beat,)
        return beat, f"{self._pages.wanted} of {self._pages.series} series"

    def _run(self) -> None:
        """Pull at each interval; a stop cancels a running pull."""
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
                why = f"none of its {self._pages.series} series is one of keys"
                self._inbox.turn(False, f"{url}: {why}")
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
        """Quote a faulty page if the stream is down for another reason, once a minute."""
        now, inbox = time.monotonic(), self._inbox
        if error.reason != "exposition" or now - self._last_quote < _QUOTE_EVERY_S:
            return
        self._last_quote = now
        if not inbox.up and inbox.why != NEVER:  # else the status change quotes it
            inbox.log(f"{self.name} is still down: {self.config.metrics_url}: {error.why}")

    def _wants(self, key: str) -> bool:
        return not self.config.keys or any(matches(known, key) for known in self.config.keys)
