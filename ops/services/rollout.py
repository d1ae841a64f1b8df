"""A candidate on a cluster: preview, start, promote or abort its shadow.

    python -m ops.services.rollout preview|canary|promote|abort [--overlay FOLDER]

Each is one call of kubectl on the overlay `argo`. The patches are those of Argo's own command line
(argo-rollouts v1.8, `promote` and `abort`), so that no plug-in is needed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.inert import guard
from operators.errors import LumenError, ToolError

OVERLAY = Path(__file__).parent / "kubernetes" / "overlays" / "argo"
SPACE, ROLLOUT = "lumen", "lumen-shadow"
ANSWER_S = 5
_PATCH = ("patch", "rollouts.argoproj.io", ROLLOUT, "-n", SPACE, "--type", "merge",
          "--subresource", "status", "-p")  # fmt: skip
STEPS = ("preview", "canary", "promote", "abort")


class RolloutError(ToolError):
    """No kubectl, or no cluster: one line with the reason."""

    exit_code = 1


def arguments(step: str, overlay: Path) -> list[str]:
    """Return the arguments of kubectl for a step."""
    return {
        "preview": ["diff", "-k", str(overlay)],
        "canary": ["apply", "-k", str(overlay)],
        "promote": [*_PATCH, json.dumps({"status": {"pauseConditions": None}})],
        "abort": [*_PATCH, json.dumps({"status": {"abort": True}})],
    }[step]


def run(step: str, overlay: Path) -> int:
    """Run a step; return the exit code of kubectl.

    Raises
    ------
    RolloutError
        kubectl is missing, or no cluster answers.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise RolloutError("no kubectl here: there is no cluster to roll out to")
    asked = [kubectl, "get", "--raw", "/readyz", f"--request-timeout={ANSWER_S}s"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=4 * ANSWER_S)
        reason = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        reason = ["it does not answer in time"]
    if reason:
        raise RolloutError(f"no cluster answers: {reason[0]} (see kubectl config get-contexts)")
    code = subprocess.run([kubectl, *arguments(step, overlay)]).returncode
    # `kubectl diff` returns 1 for a difference, which is no failure.
    return 0 if step == "preview" and code == 1 else code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("step", choices=STEPS, help="show the change, start, promote or abort it")
    parser.add_argument(
        "--overlay", type=Path, default=OVERLAY, metavar="FOLDER", help="of kustomize"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step."""
    guard()
    parser = argparse.ArgumentParser(
        prog="python -m ops.services.rollout", description="A candidate on a cluster."
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return run(args.step, args.overlay)
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
