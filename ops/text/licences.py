"""The licences of everything that a bill of materials lists, with their texts.

    python -m ops.text.licences SBOM.json LICENCES.txt

runs in the environment that the bill lists. Source of the format: CycloneDX 1.6, ECMA-424.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

TEXT = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)[^/]*", re.IGNORECASE)
"""The names of files with a text of a licence; wheels keep them in their `.dist-info`."""
UNNAMED = "named in its text alone"


class Licensed(NamedTuple):
    """One package.

    Attributes
    ----------
    name, version : str
        As the bill has them.
    declared : str
        SPDX expression, identifiers or trove classifiers; empty if it declares none.
    texts : dict
        Texts by file, relative to where packages are installed.
    """

    name: str
    version: str
    declared: str
    texts: Mapping[str, str]


def declared(component: Mapping[str, Any]) -> str:
    """Return the licences that a component of a bill declares, in its order.

    Parameters
    ----------
    component : dict
        A component of CycloneDX. Whole texts that stand in place of a name are passed over.
    """
    names: dict[str, None] = {}
    for entry in component.get("licenses", ()):
        of = entry.get("license", {})
        if "expression" in entry:
            names[entry["expression"]] = None
        elif "id" in of:
            names[of["id"]] = None
        elif "text" not in of:
            names[of["name"].rsplit(" :: ", 1)[-1]] = None
    return ", ".join(names)


def texts(name: str) -> dict[str, str]:
    """Return the texts that an installed package brings in its metadata, by file."""
    try:
        files = distribution(name).files or ()
    except PackageNotFoundError:
        return {}
    return {
        str(file): Path(str(file.locate())).read_text("utf-8", errors="replace")
        for file in sorted(files, key=str)
        if ".dist-info/" in str(file) and TEXT.fullmatch(file.name)
    }


def licensed(bill: Mapping[str, Any]) -> list[Licensed]:
    """Return every package of a bill, by name."""
    parts = sorted(bill["components"], key=lambda part: str(part["name"]).casefold())
    return [Licensed(p["name"], p["version"], declared(p), texts(p["name"])) for p in parts]


def listing(packages: Iterable[Licensed]) -> str:
    """Return the list: a line a package, then their texts."""
    packages = list(packages)
    lines = [f"{p.name} {p.version}: {p.declared or UNNAMED}" for p in packages]
    for package in packages:
        for file, text in package.texts.items():
            lines += ["", "=" * 78, f"{package.name} {package.version}, {file}", "=" * 78]
            lines += [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the list; refuse a bill that is empty or has a package without any licence."""
    bill, target = map(Path, arguments)
    packages = licensed(json.loads(bill.read_text("utf-8")))
    without = [p.name for p in packages if not p.declared and not p.texts]
    if without or not packages:
        named = ", ".join(without) or "everything, for it lists nothing"
        print(f"{bill}: no licence of {named}", file=sys.stderr)
        return 1
    target.write_text(listing(packages), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
