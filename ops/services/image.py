"""Build the container file without a registry of images: `make image`.

    python -m ops.services.image [--into FOLDER]

`FROM debian:SUITE` is a tree by mmdebstrap; each RUN is run in it by chroot, each COPY copies from
`dist/`; umoci packs the tree and the settings into an OCI layout. It needs root, mmdebstrap and
umoci. One stage, and the instructions in `KNOWN` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from configs.inert import guard
from operators.errors import LumenError, ToolError

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).parent / "container" / "Containerfile"
KNOWN = ("FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK",
         "ENTRYPOINT", "CMD")  # fmt: skip
NAME = "lumen-fusion"
_HOST_FILES = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf")
_PIP_FOLDERS = ("etc/xdg/pip", "root/.config/pip")
"""Files of the host that commands in the tree need, while it is built."""
_ADDRESSED = re.compile(r"(SSL_CERT_|PIP_|HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy)")


class ImageError(ToolError):
    """An image that cannot be built: one line with the reason."""

    exit_code = 1


class Step(NamedTuple):
    """One instruction of a container file."""

    word: str
    rest: str


def steps(text: str) -> list[Step]:
    """Return the instructions of a container file.

    Raises
    ------
    ImageError
        An instruction is not among `KNOWN`.
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        if word not in KNOWN:
            raise ImageError(f"{FILE.name}: {word} is not known here")
        found.append(Step(word, rest.strip()))
    return found


def settings(listed: Sequence[Step]) -> list[str]:
    """Return the arguments of `umoci config` for the settings among the instructions."""
    made: list[str] = []
    for word, rest in listed:
        if word == "ENV":
            made += ["--config.env", rest]
        elif word == "USER":
            made += ["--config.user", rest]
        elif word == "WORKDIR":
            made += ["--config.workingdir", rest]
        elif word == "VOLUME":
            made += ["--config.volume", rest]
        elif word == "EXPOSE":
            made += [part for port in rest.split() for part in ("--config.exposedports", port)]
        elif word in ("ENTRYPOINT", "CMD"):
            made += [
                part for each in json.loads(rest) for part in (f"--config.{word.lower()}", each)
            ]
    return made


def build(root: Path, into: Path) -> None:
    """Build the image.

    Parameters
    ----------
    root : Path
        Checkout with `dist/`.
    into : Path
        Gets the tree, `tree/`, and the OCI layout, `oci/`.

    Raises
    ------
    ImageError
        A program or a file is missing, or a step fails.
    """
    missing = [name for name in ("mmdebstrap", "umoci") if shutil.which(name) is None]
    if missing:
        raise ImageError(f"no {' and no '.join(missing)} here: apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise ImageError("an image is built by root alone")
    listed = steps(FILE.read_text("utf-8"))
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    tree = into / "tree"
    for word, rest in listed:
        if word == "FROM":
            suite = rest.partition(":")[2].partition("-")[0]
            _run("mmdebstrap", "--quiet", "--variant=minbase", suite, str(tree))
        elif word == "COPY":
            _copy(root / "dist", tree, rest.split())
        elif word == "RUN":
            print(f"lumen: {rest[:90]}", file=sys.stderr)
            with _lent(tree):
                _run("chroot", str(tree), "/bin/sh", "-euc", rest, env=_environment())
    layout, image = into / "oci", f"{into / 'oci'}:{NAME}"
    _run("umoci", "init", "--layout", str(layout))
    _run("umoci", "new", "--image", image)
    _run("umoci", "config", "--image", image, *settings(listed))
    bundle = into / "bundle"
    _run("umoci", "unpack", "--image", image, str(bundle))
    shutil.rmtree(bundle / "rootfs")
    tree.rename(bundle / "rootfs")
    _run("umoci", "repack", "--image", image, str(bundle))
    (bundle / "rootfs").rename(tree)
    shutil.rmtree(bundle)
    _run("umoci", "gc", "--layout", str(layout))


@contextmanager
def _lent(tree: Path) -> Iterator[None]:
    """Lend the tree files of the host for a command: how this machine reaches registries.

    A file that the command has written stays as it is.
    """
    names = [*_HOST_FILES, *(v.lstrip("/") for k, v in _environment().items() if "CERT" in k)]
    folders = [Path("/") / folder for folder in _PIP_FOLDERS]
    names += [str(path).lstrip("/") for folder in folders for path in sorted(folder.glob("*"))]
    before: dict[Path, tuple[bytes, bytes | None]] = {}
    for name in dict.fromkeys(names):
        source, target = Path("/") / name, tree / name
        if source.is_file() and not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            before[target] = source.read_bytes(), (target.read_bytes() if target.exists() else None)
            target.write_bytes(before[target][0])
    try:
        yield
    finally:
        for target, (lent, kept) in before.items():
            if not target.exists() or target.read_bytes() != lent:
                continue
            if kept is None:
                target.unlink()
            else:
                target.write_bytes(kept)


def _environment() -> dict[str, str]:
    """Return the environment of a command in the tree: how this machine reaches registries."""
    lent = {k: v for k, v in os.environ.items() if _ADDRESSED.match(k) and "FIND_LINKS" not in k}
    return {**lent, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}  # fmt: skip


def _copy(context: Path, tree: Path, words: Sequence[str]) -> None:
    *patterns, target = words
    for pattern in patterns:
        found = sorted(context.glob(pattern))
        if not found:
            raise ImageError(f"no {context.name}/{pattern} here: make release")
        for path in found:
            shutil.copyfile(path, tree / target.lstrip("/") / path.name)


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [""]
        raise ImageError(f"{shlex.join(command)[:120]} failed ({done.returncode}): {last[0][:200]}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--into", type=Path, default=Path(".image"), metavar="FOLDER", help="default %(default)s"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Build the image; return 1 where it cannot be built."""
    guard()
    parser = argparse.ArgumentParser(
        prog="python -m ops.services.image", description="Build the container file."
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        build(ROOT, args.into.absolute())
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        return error.exit_code
    print(f"{args.into}/oci is an OCI layout: skopeo copy oci:{args.into}/oci:{NAME} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
