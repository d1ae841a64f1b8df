"""A MIDI output that writes each message, with its time, to the file that its device names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path


class LoggedPort:
    """A port; it is there while the file exists."""

    def __init__(self, device: str, virtual: bool = False) -> None:
        self.facts: tuple[str, ...] = ()
        self._log = Path(device)

    def open(self) -> None:
        """Connect."""
        if not self.there():
            raise OSError(f"no {self._log}")
        self.facts = (self._log.name,)

    def there(self) -> bool:
        """Whether the file exists."""
        return self._log.exists()

    def send(self, message: Sequence[int]) -> None:
        """Write one line: steady time and the bytes."""
        if not self.facts or not self.there():
            raise OSError("it is gone")
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._log.open("a") as log:
            log.write(f"{now} {' '.join(f'{byte:02x}' for byte in message)}\n")

    def release(self) -> None:
        """Disconnect."""
        self.facts = ()

    def close(self) -> None:
        """Disconnect."""
        self.release()


def messages(log: Path) -> list[tuple[float, str]]:
    """Return the messages written so far."""
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    return [(float(now), rest) for now, rest in lines]
