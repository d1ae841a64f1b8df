"""Protection of a port: networks, requests a second, and a bearer token, in this order.

`/healthz` and `/readyz` need no token and are not limited: a supervisor that is refused would end
the process. The address is that of the connection; headers of proxies are not read.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_network
from math import ceil

from configs.address import ip_of
from configs.outputs import ExporterConfig
from configs.token_file import TokenFileError, token_of
from sinks.exporter.answers import HEADERS, Answer, text_answer
from sinks.exporter.rate_limit import RateLimit

PROBES = ("/healthz", "/readyz")


class Protection:
    """The configured protection of one port.

    Parameters
    ----------
    config : ExporterConfig
    clock : callable
        Monotonic seconds.

    Raises
    ------
    TokenFileError
        The token file cannot be used.
    """

    def __init__(self, config: ExporterConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._networks = [ip_network(text, strict=False) for text in config.allow]
        self.limit = None if config.max_qps is None else RateLimit(config.max_qps, clock)
        self._token: bytes | None = None
        if config.token_file is not None:
            try:
                self._token = sha256(token_of(config.token_file)).digest()
            except TokenFileError as error:
                raise TokenFileError(f"exporter.token_file {error}") from error

    def refusal(self, path: str, address: str, authorization: str) -> Answer | None:
        """Return the response to a request that is refused, None for one that is admitted.

        Parameters
        ----------
        path : str
        address : str
            Of the peer.
        authorization : str
            The header, empty without one.
        """
        peer = ip_of(address)
        if self._networks and not any(peer in network for network in self._networks if peer):
            return _answer(403, "Forbidden.")
        if path in PROBES:
            return None
        if self.limit is not None and (wait_s := self.limit.wait_s(peer)):
            return _answer(429, "Too many requests.", Retry_After=str(ceil(wait_s)))
        if self._token is not None and not self._admits(authorization):
            return _answer(401, "Unauthorized.", WWW_Authenticate="Bearer")
        return None

    def _admits(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        # Digests have one length: the time of the comparison depends on no part of the token.
        given = sha256(token.encode("utf-8", "surrogateescape")).digest()
        same = self._token is not None and hmac.compare_digest(given, self._token)
        return same and scheme.lower() == "bearer"


def _answer(status: int, text: str, **headers: str) -> Answer:
    status, more, body = text_answer(status, text, **headers)
    return status, HEADERS | more, body
