"""The recordings of a configuration, for `lumen check` and `lumen doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from configs.inert import inert
from configs.inputs import FileStream
from configs.schema import Config
from ops.text.diagnosis import Diagnosis
from sources.replay import RecordingsError
from sources.replay.formats import form_of


def recordings(config: Config | None) -> Iterator[Diagnosis]:
    """Yield the form of each recording, or the reason why it cannot be used."""
    for stream in config.streams if config else ():
        if not isinstance(stream, FileStream):
            continue
        try:
            found = f"{inert(stream.path)}: {form_of(stream)}"
        except (OSError, ValueError) as error:
            todo = "a run refuses it; convert or cut it anew"
            yield Diagnosis("bad", "file", inert(str(error)), todo)
        else:
            yield Diagnosis("ok", "file", found)


def described(config: Config) -> list[str]:
    """Return a line for each recording.

    Raises
    ------
    RecordingsError
        With a line for each that cannot be used.
    """
    found = list(recordings(config))
    if refused := [each.found for each in found if each.verdict == "bad"]:
        raise RecordingsError(refused)
    return [f"file      {each.found}" for each in found]
