"""Release notes and the tag of a release.

    python -m ops.services.release notes
    python -m ops.services.release check TAG
    python -m ops.services.release tag [--without-gate REASON]

`notes` prints the section of CHANGELOG.md of the version in pyproject.toml. `check` compares a tag
with that version. `tag` makes the tag `vVERSION`: on a clean `main`, for the files in `dist/`,
after `lumen gate --require slo,canary` has returned GO. Sums, notes and the answer of the gates are
the text of the tag; so is the reason where the gates are passed over. Nothing is pushed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from configs.inert import guard
from operators.errors import LumenError, ToolError

ROOT = Path(__file__).parents[2]
BRANCH, SUMS, DEVELOPING = "main", "SHA256SUMS", "Unreleased"
GATE = ("gate", "--require", "slo,canary")


class ReleaseError(ToolError):
    """A release that is not made: one line with the reason."""

    exit_code = 1


def version(root: Path) -> str:
    """Return the version of a checkout."""
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def section(changelog: str, heading: str) -> str:
    """Return a section of the changelog without its heading, empty where there is none."""
    parts = re.split(r"^## (.+)$\n?", changelog, flags=re.MULTILINE)
    return next(
        (
            text.strip()
            for name, text in zip(parts[1::2], parts[2::2], strict=True)
            if re.split(r"[ ,(]", name)[0] == heading
        ),
        "",
    )


def notes(root: Path) -> str:
    """Return the notes of this version; those under `Unreleased` where it has none yet."""
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    return section(changelog, version(root)) or section(changelog, DEVELOPING)


def check(root: Path, tag: str) -> None:
    """Compare a tag with the version of a checkout.

    Raises
    ------
    ReleaseError
        They differ, the changelog has no section for the version, or later changes without one.
    """
    here = version(root)
    if tag != f"v{here}":
        raise ReleaseError(f"the tag {tag} is not that of version {here}, expected v{here}")
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    if not section(changelog, here):
        raise ReleaseError(f"CHANGELOG.md has no section '## {here}'")
    if section(changelog, DEVELOPING):
        raise ReleaseError(f"CHANGELOG.md has changes under '## {DEVELOPING}', not under a version")


def sums(root: Path) -> str:
    """Return the sums of the files in `dist/`, each compared with its file.

    Raises
    ------
    ReleaseError
        A file is missing, changed or of another version.
    """
    dist = root / "dist"
    try:
        text = (dist / SUMS).read_text("ascii")
        for line in text.splitlines():
            digest, name = line.split(maxsplit=1)
            if hashlib.sha256((dist / name).read_bytes()).hexdigest() != digest:
                raise ReleaseError(f"dist/{name} is not the file of its sum: make release")
    except (OSError, ValueError) as error:
        raise ReleaseError(f"dist/ is incomplete ({error}): make release") from None
    if f"lumen_fusion-{version(root)}-" not in text:
        raise ReleaseError(f"dist/ has no wheel of version {version(root)}: make release")
    return text


def tag(root: Path, without_gate: str | None) -> str:
    """Make the tag; return its name.

    Parameters
    ----------
    root : Path
    without_gate : str or None
        Reason to pass over the gates.

    Raises
    ------
    ReleaseError
        The checkout, the files or the gates do not admit it.
    """
    name = f"v{version(root)}"
    if git(root, "status", "--porcelain"):
        raise ReleaseError("the checkout has changes: commit or remove them")
    branch = git(root, "rev-parse", "--abbrev-ref", "HEAD")
    if branch != BRANCH:
        raise ReleaseError(f"the branch is {branch}, expected {BRANCH}")
    if git(root, "tag", "--list", name):
        raise ReleaseError(f"the tag {name} exists: raise the version in pyproject.toml")
    check(root, name)
    files = sums(root)
    if without_gate is None:
        asked = [sys.executable, "-m", "ops", *GATE]
        done = subprocess.run(asked, cwd=root, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no answer"]
            raise ReleaseError(
                f"the gates are not GO (code {done.returncode}: {reason[0]}); --without-gate REASON"
                " passes them over"
            )
        judged = f"Gates: GO\n{done.stdout.strip()}"
    else:
        judged = f"Without gates: {without_gate}"
    text = f"Lumen Fusion {name}\n\n{judged}\n\n{notes(root)}\n\n{files}"
    git(root, "tag", "--annotate", "--cleanup=verbatim", "--message", text, name)
    return name


def git(root: Path, *arguments: str) -> str:
    """Return the output of git.

    Raises
    ------
    ReleaseError
        It fails.
    """
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _reason(text: str) -> str:
    if len(text.split()) < 2:
        raise argparse.ArgumentTypeError("needs a reason, two words at least")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    steps.add_parser("notes", help="print the notes of this version")
    checked = steps.add_parser("check", help="compare a tag with this version")
    checked.add_argument("tag", metavar="TAG")
    made = steps.add_parser("tag", help="make the tag of this version")
    made.add_argument(
        "--without-gate", type=_reason, metavar="REASON", help="pass the gates over, and note why"
    )


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run one step; return 1 where it is refused."""
    guard()
    parser = argparse.ArgumentParser(
        prog="python -m ops.services.release", description="Notes and tag of a release."
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        if args.step == "notes":
            print(notes(root))
        elif args.step == "check":
            check(root, args.tag)
        else:
            print(f"{tag(root, args.without_gate)} is made; git push origin TAG publishes it")
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
