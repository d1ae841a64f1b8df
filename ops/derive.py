"""A configuration worked out from what recordings hold."""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np

from configs.coherence import RESERVED
from configs.inert import inert, quoted, quoted_path
from configs.schema import Columns, RunMode, TimeUnit, is_delimited
from operators.records import Reject
from ops.tables import dialects, of_time
from sources import xdf
from sources.dialect import Dialect
from sources.names import Names
from sources.reader import reader_at
from sources.recording import is_xdf
from sources.remarks import comma, is_comma_number, wide
from sources.rows import Rows
from sources.streams import EXACT
from sources.tape import head, is_tape
from sources.tracks import READINGS

LOOK = 1 << 20
"""Bytes of each recording that are looked at."""
FEWEST = 8
"""Events that a channel must have more of to be taken for a sampled one."""
FACTS = (
    "ure_phase_diff_mean", "ure_harmony_index", "ure_coherence_level", "ure_residual_entropy_last",
)  # fmt: skip
CONTROLLER = re.compile(r"(cc|cc14|nrpn|pitch|pressure)/\d")
SPOKEN = re.compile(r"(note|program)/\d")
"""Keys of MIDI, which speaks in steps of its own units: nothing to fuse with what is measured."""


def derive(
    files: Sequence[Path],
    out: Path,
    mode: RunMode | None = None,
    time: str | None = None,
    unit: TimeUnit | None = None,
) -> Path:
    """Write a configuration that replays `files` into `out`; it lies beside it as `<out>.yaml`.

    MIDI controllers, what URE says of itself and the readings of a clock become facts. Of the
    rest: where each source has one channel, they are taken to measure one quantity. Else a source
    measures several: channels that share their key make a signal each, the others are not
    used; where no two share it, each channel is a signal. Members that name another unit than the
    first of their signal are learnt.

    Parameters
    ----------
    files : sequence of Path
    out : Path
        Folder of the results.
    mode : {'causal', 'hindsight'}, optional
        By default `hindsight`, but `causal` where a tape is among the files: a tape replays its
        live run.
    time : str, optional
        Name of the time column of delimited files.
    unit : {'s', 'ms', 'us', 'ns'}, optional
        Of source stamps.

    Raises
    ------
    SystemExit
        Code 2: a file is missing, or none of them holds a series of numbers.
    """
    counts: Counter[str] = Counter()
    named: dict[str, str] = {}
    whys: list[str] = []
    tables = dialects(files, time, unit)
    for file in files:
        if not (file.is_file() or is_tape(str(file))):
            _refuse(f"{file}: there is no such file")
        held, why, notes = survey(file, tables.get(file), unit)
        counts += held
        named |= units(file)
        whys += [why] if why else []
        for remark in notes:
            print(f"lumen: {inert(remark)}", file=sys.stderr)
    keys = {name: name.partition(":")[2] for name in sorted(counts)}
    facts = [
        name for name, key in keys.items() if key in (*FACTS, READINGS) or CONTROLLER.match(key)
    ]
    series = [
        name
        for name, key in keys.items()
        if counts[name] > FEWEST and name not in facts and not SPOKEN.match(key)
    ]
    if not series:
        _refuse("\nlumen: ".join(whys) or f"{files[0]}: no channel with more than {FEWEST} numbers")
    for why in whys:
        print(f"lumen: {inert(why)}", file=sys.stderr)
    path = out.with_name(out.name + ".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["recording"] if len(files) == 1 else [f"recording_{i + 1}" for i in range(len(files))]
    streams = [
        f"{{name: {name}, type: file, path: {quoted_path(str(file))}"
        f"{of_time(tables.get(file), unit)}}}"
        for name, file in zip(names, files, strict=True)
    ]
    title = "Worked out from what the recordings hold."
    found = signals(series)
    text = yaml_of(title, streams, found, facts, str(out), learnt=unlike(found, named))
    path.write_text(f"{text}mode: {mode or usual_mode(files)}\n", "utf-8")
    return path


def usual_mode(files: Sequence[Path]) -> RunMode:
    """Return the mode in which recordings are replayed unless another is asked for."""
    return "causal" if any(is_tape(str(file)) for file in files) else "hindsight"


def survey(
    file: Path, table: Dialect | None = None, unit: TimeUnit | None = None
) -> tuple[Counter[str], str | None, list[str]]:
    """Return the content of a recording: of an XDF file all, of others the first MiB.

    Returns
    -------
    counts : Counter
        How many numbers each channel has.
    why : str or None
        Why nothing of it can be fused.
    remarks : list of str
        Values that are not used as they were meant, a sentence each.

    Raises
    ------
    SystemExit
        Code 2: a file that cannot be opened.
    """
    if is_xdf(str(file)):
        try:
            recorded = xdf.load(str(file), progress=True)
        except (OSError, ValueError) as error:
            _refuse(str(error))
        return xdf.channels(str(file)), xdf.why_not(str(file), recorded, FEWEST), []
    start = head(str(file), LOOK)
    whole = start[: start.rfind(b"\n") + 1] or start
    columns = Columns(ts=table.names[table.time]) if table else None
    reader = reader_at(str(file), columns, table.unit if table else unit)
    rows = reader.decode(whole, 0, Names("studio")) if whole else None
    found: Counter[str] = Counter()
    if rows is None:
        return found, f"{file}: empty: it holds no line", []
    channel = [":".join(pair) for pair in rows.names.pairs]
    numbers = np.isfinite(rows.value) & (rows.name >= 0)
    for i, count in enumerate(np.bincount(rows.name[numbers]).tolist()):
        found[channel[i]] += count
    beyond = rows.name[numbers & (np.abs(rows.value) > EXACT)]
    remarks = [wide(channel[i], n) for i, n in enumerate(np.bincount(beyond).tolist()) if n]
    texts, first = Counter[str](), dict[str, str]()
    notes = [] if rows.notes is None else rows.notes.tolist()
    for name, note in zip(rows.name.tolist()[: len(notes)], notes, strict=True):
        if name >= 0 and isinstance(note, str) and is_comma_number(note):
            texts[channel[name]] += 1
            first.setdefault(channel[name], note)
    remarks += [comma(name, n, first[name]) for name, n in texts.items()]
    return found, None if found else _no_numbers(file, rows, whole), remarks


def _no_numbers(file: Path, rows: Rows, whole: bytes) -> str:
    """Return why a recording of lines has no number."""
    rejects = [x for x in ([] if rows.notes is None else rows.notes) if isinstance(x, Reject)]
    texts = sum(isinstance(x, str) for x in ([] if rows.notes is None else rows.notes))
    if texts:
        return (f"{file}: markers only ({texts:,} texts): nothing to fuse;"
                " give a recording with numbers too")  # fmt: skip
    if rejects and len(rejects) == len(rows):
        return (f"{file}: no line of it is an event ({rejects[0].reason}); it begins with"
                f" {whole[:16]!r}; expected one JSON object a line")  # fmt: skip
    return f"{file}: no event among its first lines"


class _Unit(msgspec.Struct):
    unit: str | None = None


class _Named(msgspec.Struct):
    source: str
    key: str
    meta: _Unit | None = None


def units(file: Path) -> dict[str, str]:
    """Return the unit of each channel that names one in the first MiB of a recording."""
    if is_xdf(str(file)) or is_delimited(str(file)):
        return {}
    found: dict[str, str] = {}
    decoder = msgspec.json.Decoder(_Named)
    for line in head(str(file), LOOK).splitlines():
        try:
            event = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if event.meta and event.meta.unit:
            found.setdefault(f"{event.source}:{event.key}", event.meta.unit)
    return found


def unlike(signals: dict[str, list[str]], unit: dict[str, str]) -> list[str]:
    """Return the members whose unit is another one than that of the first of their signal."""
    out = []
    for members in signals.values():
        # Elements of an array share the unit of its key.
        named = [unit.get(m) or unit.get(m.partition("[")[0]) for m in members]
        first = named[0]
        out += [m for m, u in zip(members, named, strict=True) if first and u and u != first]
    return out


def signals(series: Sequence[str]) -> dict[str, list[str]]:
    """Return signals and their members, as `derive` says."""
    if len({channel.partition(":")[0] for channel in series}) == len(series):
        return {"signal": list(series)}
    by_key: dict[str, list[str]] = defaultdict(list)
    for channel in series:
        by_key[channel.partition(":")[2]].append(channel)
    shared = {key: members for key, members in by_key.items() if len(members) > 1}
    named: dict[str, list[str]] = {}
    for key, members in (shared or by_key).items():
        words = re.findall(r"[A-Za-z0-9_]+", key)
        word = words[-1] if words else ""
        fit = word.isidentifier() and word not in RESERVED and not word.endswith("_sd")
        named[word if fit and word not in named else f"signal_{len(named) + 1}"] = members
    return named


def yaml_of(
    title: str,
    streams: Sequence[str],
    signals: dict[str, list[str]],
    facts: Sequence[str],
    out: str,
    held: Sequence[str] = (),
    learnt: Sequence[str] = (),
) -> str:
    """Return a configuration.

    Parameters
    ----------
    title : str
        What it says of itself.
    streams : sequence of str
        As flow mappings.
    signals : dict
        Members by name.
    facts, held : sequence of str
        Channels; `held` are members that speak when they change.
    learnt : sequence of str
        Members in other units.
    out : str
        Folder of the results.
    """
    lines = [f"# {title}", "version: 2", "streams:", *(f"  - {stream}" for stream in streams)]
    set_up = [f"  {quoted(channel)}: {{kind: held}}" for channel in held]
    set_up += [f"  {quoted(channel)}: {{gain: auto, offset: auto}}" for channel in learnt]
    if set_up:
        lines += ["channels:", *set_up]
    lines.append("signals:")
    for name, members in signals.items():
        lines += [f"  {name}:", "    members:"]
        for channel in members:
            group = "ure" if channel.partition(":")[0] == "ure" else "sensors"
            lines.append(f"      {quoted(channel)}: {{group: {group}}}")
    if facts:
        lines.append(f"facts: [{', '.join(map(quoted, facts))}]")
    lines.append(f"output: {{dir: {quoted_path(out)}}}")
    return "\n".join(lines) + "\n"


def _refuse(why: str) -> NoReturn:
    print(f"lumen: {why}", file=sys.stderr)
    raise SystemExit(2)
