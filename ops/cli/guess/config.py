"""A configuration derived from the content of recordings."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from configs.inert import inert, quoted_path
from configs.inputs import TimeUnit
from configs.schema import RunMode
from operators.align import AlignConfig
from operators.events import READING_KEY
from ops.cli.guess.agreement import MAX_S, CommonGrid
from ops.cli.guess.delimited_files import dialects, of_time
from ops.cli.guess.members import Proposal, held, named, propose
from ops.cli.guess.survey import MIN_COUNT, RecordedChannel, Survey, span_of, survey
from ops.cli.guess.yaml_text import yaml_of
from sources.replay import RecordingsError
from sources.tape.reader import is_tape

FACTS = (
    "ure_phase_diff_mean",
    "ure_harmony_index",
    "ure_coherence_level",
    "ure_residual_entropy_last",
)
CONTROLLER = re.compile(r"(cc|cc14|nrpn|pitch|pressure)/\d")
NOTE = re.compile(r"(note|program)/\d")
"""Keys of MIDI in steps of its own units, which cannot be fused with measurements."""
MARGIN_S = 1.0
MAX_SHOWN = 16
"""Guesses shown; the head of the configuration has all."""


def derive(
    files: Sequence[Path],
    out: Path,
    mode: RunMode | None = None,
    time: str | None = None,
    unit: TimeUnit | None = None,
    show: Callable[[str], object] = lambda line: None,
    warn: Callable[[str], object] = lambda line: None,
) -> Path:
    """Write the configuration `<out>.yaml` that replays `files` into `out`.

    Facts are MIDI controllers, indicators of URE, readings of a clock, and held streams of XDF:
    those without a nominal rate that are codes, whole numbers or few. Of the rest, channels of
    different sources become members of one signal if they share a label, a type or a unit and agree
    (`members`). Each other channel is a signal. The scale of a member is learnt if its unit differs
    from that of the first member. Each guess, made or rejected, is a line at the head of the
    configuration.

    Parameters
    ----------
    files : sequence of Path
    out : Path
        Folder of the results.
    mode : {'causal', 'hindsight'}, optional
        By default `hindsight`, but `causal` with a tape among the files, since a tape replays
        its live run.
    time : str, optional
        Name of the time column of delimited files.
    unit : {'s', 'ms', 'us', 'ns'}, optional
        Unit of source stamps.
    show : callable
        Called with the first guesses.
    warn : callable
        Called with each remark on a file, and with each reason why a file is of no use.

    Raises
    ------
    RecordingsError
        A file is missing, or none of them holds a series of numbers.
    """
    tables = dialects(files, time, unit)
    surveys: list[Survey] = []
    for file in files:
        if not (file.is_file() or is_tape(str(file))):
            raise RecordingsError([f"{file}: no such file"])
        try:
            surveys.append(survey(file, tables.get(file), unit))
        except (OSError, ValueError) as error:
            raise RecordingsError([str(error)]) from error
        for remark in surveys[-1].remarks:
            warn(inert(remark))
    whys = [inert(found.why) for found in surveys if found.why]
    every = merged(surveys)
    facts = [c.name for c in every if is_fact(c)]
    series = [
        c for c in every if c.count > MIN_COUNT and c.name not in facts and not NOTE.match(c.key)
    ]
    if not series:
        # Without sampled channels, the held ones are fused.
        series = [c for c in every if c.count > MIN_COUNT and c.held and c.key != READING_KEY]
        facts = [name for name in facts if name not in {c.name for c in series}]
    if not series:
        raise RecordingsError(
            whys or [f"{files[0]}: no channel with more than {MIN_COUNT} numbers"]
        )
    for why in whys:
        warn(why)
    path = out.with_name(out.name + ".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["recording"] if len(files) == 1 else [f"recording_{i + 1}" for i in range(len(files))]
    streams = [
        f"{{name: {name}, type: file, path: {quoted_path(str(file))}"
        f"{of_time(tables.get(file), unit)}}}"
        for name, file in zip(names, files, strict=True)
    ]
    found = guess(series, surveys)
    guesses = [
        *found.made,
        *held(c for c in every if c.name in facts or c in series),
        *found.unmade,
    ]
    guesses = [inert(sentence) for sentence in guesses]  # they become YAML comments
    shown = guesses[:MAX_SHOWN]
    if len(guesses) > MAX_SHOWN:
        shown.append(f"{len(guesses) - MAX_SHOWN} more are at the head of {path}")
    for sentence in shown:
        show(f"Guess: {sentence}.")
    title = "\n# ".join(["Derived from the content of the recordings.", *guesses])
    text = yaml_of(
        title,
        streams,
        found.signals,
        facts,
        str(out),
        held=[c.name for c in series if c.held],
        learnt=unlike(found.signals, {c.name: c.unit for c in every if c.unit}),
    )
    if found.lag_s > AlignConfig().max_lag_s - MARGIN_S:
        text += f"align: {{max_lag_s: {min(math.ceil(found.lag_s + MARGIN_S), MAX_S):g}}}\n"
    path.write_text(f"{text}mode: {mode or usual_mode(files)}\n", "utf-8")
    return path


def usual_mode(files: Sequence[Path]) -> RunMode:
    """Return the default mode for recordings."""
    return "causal" if any(is_tape(str(file)) for file in files) else "hindsight"


def merged(surveys: Sequence[Survey]) -> list[RecordedChannel]:
    """Return the channels of all recordings, sorted by name, each once."""
    every: dict[str, RecordedChannel] = {}
    for found in surveys:
        for c in found.channels:
            before = every.get(c.name)
            if before is None or before.count < c.count:
                every[c.name] = c
    return [every[name] for name in sorted(every)]


def is_fact(channel: RecordedChannel) -> bool:
    """Return whether a channel is a fact, hence not fused."""
    known = channel.key in (*FACTS, READING_KEY) or CONTROLLER.match(channel.key)
    return bool(known or (channel.held and channel.count))


def guess(series: Sequence[RecordedChannel], surveys: Sequence[Survey]) -> Proposal:
    """Return the signals of channels, by their agreement."""
    sampled = [c for c in series if not c.held]
    grid = CommonGrid(*span_of(surveys))
    if len({c.source for c in sampled}) > 1:
        wanted = frozenset(c.name for c in sampled)
        for found in surveys:
            found.fill(grid, wanted)
    proposal = propose(sampled, grid.agreement, grid.glance)
    groups = [*proposal.signals.values(), *([c.name] for c in series if c.held)]
    return proposal._replace(signals={"signal": groups[0]} if len(groups) == 1 else named(groups))


def unlike(signals: dict[str, list[str]], unit: dict[str, str]) -> list[str]:
    """Return the members whose unit differs from that of the first member of their signal."""
    out = []
    for members in signals.values():
        given = [unit.get(m) for m in members]
        first = given[0]
        out += [m for m, u in zip(members, given, strict=True) if first and u and u != first]
    return out


def signals(series: Sequence[str]) -> dict[str, list[str]]:
    """Return signals and their members by the names of channels only.

    If each source has one channel, all are members of one signal. Else channels with equal keys
    are members of one signal; without equal keys, each channel is a signal.
    """
    if len({channel.partition(":")[0] for channel in series}) == len(series):
        return {"signal": list(series)}
    by_key: dict[str, list[str]] = defaultdict(list)
    for channel in series:
        by_key[channel.partition(":")[2]].append(channel)
    shared = {key: members for key, members in by_key.items() if len(members) > 1}
    return named((shared or by_key).values())
