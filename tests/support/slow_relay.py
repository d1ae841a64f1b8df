"""A TCP relay that delays what it passes on, each direction by its own constant time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ops.fakes.ports import free_port


class SlowRelay:
    """A relay to a port of this machine.

    Parameters
    ----------
    port : int
        Of the server behind it.
    out_s, back_s : float
        Least delay towards the server, and from it (s).
    """

    def __init__(self, port: int, out_s: float, back_s: float) -> None:
        self.port = free_port()
        self._server_port, self._out_s, self._back_s = port, out_s, back_s

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Serve until the stop."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        ready.set()
        await stop.wait()
        server.close()

    async def _connected(self, near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        far, order = await asyncio.open_connection("127.0.0.1", self._server_port)
        with suppress(ConnectionError):
            await asyncio.gather(
                _passed_on(near, order, self._out_s), _passed_on(far, answer, self._back_s)
            )


async def _passed_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    """Write what is read, in order, no earlier than `delay_s` after it came."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    writing = asyncio.create_task(write())
    while data := await reader.read(65536):
        waiting.put_nowait((loop.time() + delay_s, data))
    waiting.put_nowait((loop.time() + delay_s, b""))
    await writing


@contextmanager
def relaying(port: int, out_s: float, back_s: float) -> Iterator[int]:
    """Run a relay; yield its port."""
    relay, ready = SlowRelay(port, out_s, back_s), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(relay.serve(ready, stop)), daemon=True
    )
    thread.start()
    assert ready.wait(60)
    try:
        yield relay.port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
