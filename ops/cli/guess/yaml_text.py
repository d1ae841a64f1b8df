"""Text of a derived configuration."""

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
        Comment at the head.
    streams : sequence of str
        Flow mappings.
    signals : dict
        Members by name.
    facts, held : sequence of str
        Channels; `held` are members sent on change.
    learnt : sequence of str
        Members with a learnt scale.
    out : str
        Folder of the results.
    """
    lines = [f"# {title}", "version: 2", "streams:", *(f"  - {stream}" for stream in streams)]
    channels = [f"  {quoted(channel)}: {{kind: held}}" for channel in held]
    channels += [f"  {quoted(channel)}: {{gain: auto, offset: auto}}" for channel in learnt]
    if channels:
        lines += ["channels:", *channels]
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
