"""An LSL network on this machine alone, and senders on it, for tests.

    python -m ops.fakes.lsl_network '{"name": "eeg", "channels": 2, "rate_hz": 100}'

A sender is a process. It reads lines from standard input: `{"samples": [[1, 2]], "stamps": [12.5]}`
pushes samples, `{"load": {"rate_hz": 500, "seconds": 20}}` numbers at a steady rate, and
`{"look": {}}` asks whether there is a receiver. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_CONFIG = """[multicast]
ResolveScope = machine
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session}
[ports]
IPv6 = disable
[log]
level = -3
"""


def alone(folder: Path) -> None:
    """Set the network of this process and its children, before it uses LSL.

    Parameters
    ----------
    folder : Path
        For the configuration file; its name is the session, which others do not see.
    """
    path = folder / "lsl_api.cfg"
    path.write_text(_CONFIG.format(session=f"{folder.name}-{os.getpid()}"))
    os.environ["LSLAPICFG"] = str(path)


def outlet(spec: dict[str, Any]) -> Any:
    """Return an outlet.

    Parameters
    ----------
    spec : dict
        `name`; `type`, `channels`, `rate_hz`, `form`, `source_id` and `labels` may be left out.
    """
    from pylsl import StreamInfo, StreamOutlet

    info = StreamInfo(
        spec["name"], spec.get("type", ""), spec.get("channels", 1), spec.get("rate_hz", 0.0),
        spec.get("form", "double64"), spec.get("source_id", ""),
    )  # fmt: skip
    if labels := spec.get("labels"):
        channels = info.desc().append_child("channels")
        for label in labels:
            channels.append_child("channel").append_child_value("label", label)
    return StreamOutlet(info)


def load(sender: Any, channels: int, rate_hz: float, seconds: float, ahead_s: float = 0.0) -> None:
    """Push numbers at a steady rate, in samples of one instant, with stamps that are ahead."""
    from pylsl import local_clock

    began = local_clock()
    for i in range(int(rate_hz * seconds)):
        due = began + i / rate_hz
        if (wait := due - local_clock()) > 0.001:
            time.sleep(wait)
        sender.push_sample([float(i + k) for k in range(channels)], due + ahead_s)


def main() -> None:
    """Push what standard input asks for."""
    spec = json.loads(sys.argv[1])
    sender = outlet(spec)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "look" in order:
            print(json.dumps(bool(sender.have_consumers())), flush=True)
            continue
        if "load" in order:
            load(sender, spec["channels"], **order["load"])
        else:
            for sample, stamp in zip(order["samples"], order["stamps"], strict=True):
                sender.push_sample(sample, stamp)
        print("sent", flush=True)


if __name__ == "__main__":
    main()
