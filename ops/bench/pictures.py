"""The README's two pictures: the live page of a stage, and the report of the demo.

    python -m ops.bench.pictures [--seconds 75]

Writes `ops/docs/page.png` and `ops/docs/report.png`. The stage of `configs/stage.yaml` and its
devices run on free ports of this machine. Needs `make browser`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ops.bench.moved import PAGE, moved
from ops.bench.page import wait_for
from ops.fakes.browser import browser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "ops" / "docs"
MAX_BYTES = 150_000
LUMEN = (sys.executable, "-m", "ops")


def screenshot(address: str, path: Path, width: int, height: int, top: int = 0) -> None:
    """Write the picture of a page, `height` pixels from `top` on."""
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": width, "height": top + height})
        page.goto(address)
        page.wait_for_timeout(3_000)
        page.screenshot(path=path, clip={"x": 0, "y": top, "width": width, "height": height})
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"ops.bench.pictures: {path} is larger than {MAX_BYTES} bytes")


def page_of_a_stage(folder: Path, seconds: float) -> None:
    """Run the stage and its devices, and picture the live page after `seconds`."""
    config = ROOT / "configs" / "stage.yaml"
    path, ports = moved(folder, config.stem, config.read_text("utf-8"), ROOT)
    with ExitStack() as stack:
        for command in (("simulate", "--live"), ("run",)):
            process = subprocess.Popen(
                (*LUMEN, *command, str(path)), cwd=ROOT, stdout=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        address = f"http://127.0.0.1:{ports[PAGE]}/"
        wait_for(address)
        time.sleep(seconds)
        screenshot(address, DOCS / "page.png", width=1100, height=760)


def report_of_the_demo() -> None:
    """Run the demo, and picture the head of its report."""
    subprocess.run((*LUMEN, "demo"), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report = ROOT / "out.report" / "report.html"
    screenshot(report.as_uri(), DOCS / "report.png", width=1000, height=760)


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.pictures")
    parser.add_argument("--seconds", type=float, default=75.0, help="default %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        page_of_a_stage(Path(name), args.seconds)
    report_of_the_demo()


if __name__ == "__main__":
    main()
