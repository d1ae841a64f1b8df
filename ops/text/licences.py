"""Licences of all packages in a bill of materials, with their texts.

    python -m ops.text.licences SBOM.json LICENCES.txt

runs in the environment of the bill. Source of the format: CycloneDX 1.6, ECMA-424.
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
"""File names of licence texts in the `.dist-info` of wheels."""
UNNAMED = "named in its text alone"


class Licensed(NamedTuple):
    """One package.

    Attributes
    ----------
    name, version : str
        As in the bill.
    declared : str
        SPDX expression, identifiers or trove classifiers; empty for none.
    texts : dict
        Texts by file, relative to where packages are installed.
    """

    name: str
    version: str
    declared: str
    texts: Mapping[str, str]


def declared(component: Mapping[str, Any]) -> str:
    """Return the declared licences of a component of a bill, in its order.

    Parameters
    ----------
    component : dict
        A component of CycloneDX. Full texts in place of a name are skipped.
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
    """Return the licence texts in the metadata of an installed package, by file."""
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
    """Return the packages of a bill, sorted by name."""
    parts = sorted(bill["components"], key=lambda part: str(part["name"]).casefold())
    return [Licensed(p["name"], p["version"], declared(p), texts(p["name"])) for p in parts]


def listing(packages: Iterable[Licensed]) -> str:
    """Return the list: a line for each package, then their texts."""
    packages = list(packages)
    lines = [f"{p.name} {p.version}: {p.declared or UNNAMED}" for p in packages]
    for package in packages:
        for file, text in package.texts.items():
            lines += ["", "=" * 78, f"{package.name} {package.version}, {file}", "=" * 78]
            lines += [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the list; refuse an empty bill, or one with a package without a licence."""
    bill, target = map(Path, arguments)
    packages = licensed(json.loads(bill.read_text("utf-8")))
    without = [p.name for p in packages if not p.declared and not p.texts]
    if without or not packages:
        named = ", ".join(without) or "any package, since the bill is empty"
        print(f"{bill}: no licence of {named}", file=sys.stderr)
        return 1
    target.write_text(listing(packages), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
