"""The connection to one LSL stream: its samples, and readings of the sender's clock.

Stamps are the sender's, without any correction by LSL. The connection is not recovered by LSL: it
would stay silent about it, and only for senders with an identifier.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pylsl import StreamInlet, local_clock
from pylsl.lib import lib
from pylsl.util import InternalError, InvalidArgumentError, LostError

from operators.errors import SourceError
from operators.types import F64
from sources.header.channel_keys import channel_keys
from sources.header.xml_header import HeaderError, HeaderTexts
from sources.lsl.network import FORMS, TEXT, described
from sources.lsl.samples import Rows

if TYPE_CHECKING:
    from pylsl import StreamInfo

BUFFER_S = 360
MAX_CHANNELS = 1024
_OPEN_S = 1.0
_MAX_SAMPLES, _MAX_VALUES = 1024, 16_384
"""Of one pull."""
_BRACKETS = 4
_RESOLUTION_S = 1e-6
"""Of host time."""
_correction = lib.lsl_time_correction_ex
_correction.restype = ctypes.c_double
_FAILED = (LostError, TimeoutError, InternalError, InvalidArgumentError, RuntimeError)


class InletError(SourceError, OSError):
    """A stream that cannot be received, or is lost."""


class ClockReading(NamedTuple):
    """A reading of the sender's clock.

    Attributes
    ----------
    source : float
        Source time of the exchange (s).
    offset : float
        Host - source (s).
    error : float
        Largest error of the offset: half the round trip, and the reading of the own clocks (s).
    """

    source: float
    offset: float
    error: float


class LslInlet:
    """One connection.

    Parameters
    ----------
    info : StreamInfo
        As resolved.
    host : callable
        Host time (s).
    buffer_s : int
        Length of LSL's buffer (s).

    Raises
    ------
    InletError
        The stream does not answer, or cannot be received.
    """

    def __init__(
        self, info: StreamInfo, host: Callable[[], float], buffer_s: int = BUFFER_S
    ) -> None:
        self.what = described(info)
        self.uid: str = info.uid()
        channels, number = info.channel_count(), info.channel_format()
        if not 1 <= channels <= MAX_CHANNELS:
            raise InletError(f"{self.what}: {channels} channels, at most {MAX_CHANNELS} are taken")
        if not 0 < number < len(FORMS):
            raise InletError(f"{self.what}: a format of channels that is not known")
        self.is_text = FORMS[number] == TEXT
        self.rate_hz: float = info.nominal_srate()
        self._host = host
        self._newest = 0.0
        per_s = self.rate_hz if self.rate_hz > 0 else 100.0
        self._capacity = max(int(buffer_s * per_s), 1)
        # A portion is small against the buffer, so that its filling is seen between two.
        self._portion = max(min(_MAX_SAMPLES, _MAX_VALUES // channels, self._capacity // 4), 1)
        try:
            self._inlet = StreamInlet(info, max_buflen=buffer_s, recover=False, as_numpy=True)
            self.keys = self._keys(channels)
            self._inlet.open_stream(_OPEN_S)
        except _FAILED as error:
            raise InletError(f"{self.what}: {_why(error)}") from None
        self.reading()  # starts the exchange

    def _keys(self, channels: int) -> tuple[str, ...]:
        """Return the key of each channel, by the stream's description."""
        xml = self._inlet.info(_OPEN_S).as_xml()
        try:
            labels = [channel.get("label", "") for channel in HeaderTexts(xml.encode()).channels]
        except HeaderError:
            labels = []
        return channel_keys(labels, channels)

    @property
    def fullness(self) -> float:
        """Filled part of the buffer; LSL discards the oldest samples of a full one."""
        return float(self._inlet.samples_available()) / self._capacity

    def pull(self, wait_s: float) -> tuple[Rows, F64]:
        """Return values (n, channels) and stamps (n,) as soon as there are any.

        Raises
        ------
        InletError
            The stream is lost.
        """
        try:
            values, stamps = self._inlet.pull_chunk(wait_s, self._portion, min_samples=1)
        except _FAILED as error:
            raise InletError(f"{self.what}: {_why(error)}") from None
        return values, stamps

    def reading(self) -> ClockReading | None:
        """Return the newest reading of the sender's clock; None without a new one.

        LSL exchanges stamps with the sender every two seconds, and keeps the fastest exchange.
        """
        source, round_trip, code = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
        correction = _correction(
            self._inlet.obj,
            ctypes.byref(source),
            ctypes.byref(round_trip),
            ctypes.c_double(0.0),
            ctypes.byref(code),
        )
        if code.value or source.value == self._newest:
            return None
        self._newest = source.value
        ahead, width = self._ahead()
        error = round_trip.value / 2 + width / 2 + _RESOLUTION_S
        return ClockReading(source.value, correction + ahead, error)

    def _ahead(self) -> tuple[float, float]:
        """Return host time - LSL's clock, and the width of its reading (s)."""
        best = 0.0, float("inf")
        for _ in range(_BRACKETS):
            before = local_clock()
            host = self._host()
            width = local_clock() - before
            if width < best[1]:
                best = host - before - width / 2, width
        return best

    def close(self) -> None:
        """End the connection."""
        self._inlet = None


def _why(error: Exception) -> str:
    if isinstance(error, LostError):
        return "the stream is gone"
    if isinstance(error, TimeoutError):
        return f"no answer in {_OPEN_S:g} s"
    return str(error)
