"""Checks of scales: level and slope of each signal, and conversions learnt against it."""

from __future__ import annotations

from configs.document import DataPath, Document
from configs.schema import Config
from configs.signals import SignalConfig
from configs.typed import did_you_mean, one_of, show
from operators.settings.channels import matches


def check(document: Document, config: Config) -> None:
    """Report a scale that is no member, and channels without a reference to learn from."""
    for name, signal in config.signals.items():
        _scale(document, name, signal)
    plan = config.plan()
    learnt = {m.channel for m in plan.members if plan.channel(m.channel).learnt}
    for pattern, channel in config.channels.items():
        if not channel.learnt:
            continue
        at = _place(document, pattern)
        mine = [c for c in sorted(learnt) if matches(pattern, c)]
        if not mine:
            _fault(document, at, f"'{pattern}' is learnt and no member", "it in a signal's members")
        for fact in config.facts:
            if matches(pattern, fact):
                _fault(document, at, f"the fact '{fact}' is learnt", "a gain for a fact")
        for member in mine:
            if plan.is_held(member):
                _fault(document, at, f"the held channel '{member}' is learnt", "a gain for it")
    for name, signal in config.signals.items():
        _voters(document, name, signal, learnt)


def _scale(document: Document, name: str, signal: SignalConfig) -> None:
    if signal.scale == "consensus" or signal.scale in signal.members:
        return
    at: DataPath = ("signals", name, "scale")
    shown = document.shown(at, signal.scale)
    near = did_you_mean(document, shown, list(signal.members))
    message = f"the scale '{shown}' is no member of {show(('signals', name))}{near}"
    members = one_of(list(signal.members))
    document.fault(document.place(at), f"{message}, expected consensus or {members}")


def _voters(document: Document, name: str, signal: SignalConfig, learnt: set[str]) -> None:
    """Report a signal without a given member, and a learnt scale or reference."""
    at: DataPath = ("signals", name)
    if learnt.issuperset(signal.members):
        message = f"every member of '{name}' has gain or offset auto"
        document.fault(document.key_place(at), f"{message}, expected one to learn from")
        return
    for key in ("scale", "reference"):
        channel = getattr(signal, key)
        if channel in learnt:
            shown = document.shown((*at, key), channel)
            message = f"the {key} '{shown}' has gain or offset auto"
            document.fault(
                document.place((*at, key)), f"{message}, expected another member or a gain"
            )


def _place(document: Document, pattern: str) -> DataPath:
    key = "gain" if "gain" in document.data["channels"][pattern] else "offset"
    return ("channels", pattern, key)


def _fault(document: Document, at: DataPath, fault: str, expected: str) -> None:
    document.fault(document.place(at), f"{fault}, expected {expected}")
