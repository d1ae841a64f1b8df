"""A configuration as text, for those that work one out."""

from __future__ import annotations

from collections.abc import Sequence

from configs.inert import quoted, quoted_path


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
