"""Compiler of the optional extension `operators.native.compiled`.

`python -m ops.text.extension [--sanitize] [FOLDER]`: compiles the C sources of `operators/native`
with the machine's compiler (`$CC`, else `cc`), into that folder by default. Needs the headers of
Python. Where something is missing, one line names it, the exit code is 1, and Python runs instead.

The flags keep every rounding: no fused multiply-add, no reordering of sums, no instructions beyond
the platform's baseline.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "operators" / "native"
NAME = "compiled.abi3.so"
FLAGS = (
    "-std=c11", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-fast-math",
    "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror=implicit-function-declaration",
)  # fmt: skip
SANITIZER = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_MIN_POWER, _MAX_POWER = -292, 324
"""Powers of ten that scale a float64 to its digits."""


class NoCompilerError(RuntimeError):
    """The extension cannot be compiled on this machine; the message has the reason."""


def build(folder: Path, *, sanitize: bool = False) -> Path:
    """Compile the extension into a folder and return its path.

    Parameters
    ----------
    folder : Path
        Exists. An extension of that name is replaced as a whole.
    sanitize : bool
        With AddressSanitizer and the checks for undefined behaviour; slow.

    Raises
    ------
    NoCompilerError
        There is no compiler, no header of Python, or the compiler fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or not shutil.which(compiler[0]):
        raise NoCompilerError(f"no C compiler ({' '.join(compiler)}): install gcc or clang")
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").exists():
        raise NoCompilerError(f"no {include}/Python.h: install the headers of Python (python3-dev)")
    sources = sorted(map(str, SOURCES.glob("*.c")))
    more = list(SANITIZER) if sanitize else []
    if sys.platform == "darwin":
        more += ["-undefined", "dynamic_lookup"]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".native-") as scratch:
        Path(scratch, "powers.h").write_text(powers(), "ascii")
        made = Path(scratch, NAME)
        command = [
            *compiler, *FLAGS, *more, f"-I{scratch}", f"-I{include}", *sources,
            "-o", str(made), "-lm",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompilerError(f"the compiler failed: {done.stderr.strip()[-2000:]}")
        sums = made.with_suffix(".sum")
        sums.write_text(checksums(made), "ascii")
        made.replace(folder / NAME)
        sums.replace(folder / sums.name)
        return folder / NAME


def checksums(extension: Path) -> str:
    """Return the CRC-32 of the C sources and of the extension, as `operators.native` does.

    A build of the wheel has no numpy, which that package imports.
    """
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]")))
    return f"{zlib.crc32(sources):08x} {zlib.crc32(extension.read_bytes()):08x}\n"


def powers() -> str:
    """Return the header of the powers of ten, 128 bits each, rounded up."""
    rows = []
    for power in range(_MIN_POWER, _MAX_POWER + 1):
        above, below = 10 ** max(power, 0), 10 ** max(-power, 0)
        # 10^power 2^shift has 128 bits: 2^127 <= above 2^shift / below < 2^128.
        shift = 127 - ((power * 1741647) >> 19)
        scaled = -(-(above << max(shift, 0)) // (below << max(-shift, 0)))
        rows.append(f"{{UINT64_C({scaled >> 64:#x}), UINT64_C({scaled & (2**64 - 1):#x})}}")
    table = ",\n".join(rows)
    return f"#define MIN_POWER ({_MIN_POWER})\nstatic const uint64_t POWERS[][2] = {{\n{table}}};\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=SOURCES)
    parser.add_argument("--sanitize", action="store_true", help="check memory and arithmetic")
    args = parser.parse_args()
    try:
        made = build(args.folder, sanitize=args.sanitize)
    except NoCompilerError as error:
        raise SystemExit(f"No extension, Python runs instead: {error}") from None
    print(f"{made.name} made ({made.stat().st_size >> 10} KiB)")


if __name__ == "__main__":
    main()
