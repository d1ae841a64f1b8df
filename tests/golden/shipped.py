"""Runs of the shipped recordings, and the forms in which their output is stored.

Nothing of the product is imported: the output is held whatever module makes it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support.json_lines import json_lines

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HASHES = HERE / "shipped.json"
KINDS = ("fused", "sync", "evidence", "dead", "markers")
RUNS = {
    "demo": (ROOT / "configs" / "fusion.yaml", "causal"),
    "demo_hindsight": (ROOT / "configs" / "fusion.yaml", "hindsight"),
    "rehearsal": (HERE / "rehearsal.yaml", "causal"),
}
"""Configuration and mode of each run; `make demo` makes the first two."""

_SIMD = np.show_config(mode="dicts").get("SIMD Extensions", {})

PINNED = {
    # Nehalem (SSE4.2) is the baseline of numpy's own wheels.
    "NPY_DISABLE_CPU_FEATURES": " ".join([*_SIMD.get("found", []), *_SIMD.get("not found", [])]),
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # The libm of glibc has variants with fused multiplication.
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4",
}
"""Environment in which every x86-64 machine since 2008 takes the same paths of arithmetic."""

DECIMALS = 11
"""Decimals of a stored number."""
TOLERANCE = 1e-9
LARGEST_SCALE = 1e3
"""A difference is relative up to this magnitude. Beyond stand times of 1.7e9 s, for which
1e-9 would be more than a second: they are held to a microsecond. Rates in ppm have this scale
whatever their size, which is 1e-12 of a second per second: a slope over a few readings is a
difference of nearly equal stamps, and 1e-9 ppm of it are last bits."""


def run(name: str, folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Make a run in a process of its own.

    Parameters
    ----------
    name : str
        One of `RUNS`.
    folder : Path
        An empty folder.
    environment : mapping, optional
        Variables beside those of this process.

    Returns
    -------
    Path
        Folder of the results.
    """
    shipped, mode = RUNS[name]
    out = folder / "out"
    document = yaml.safe_load(shipped.read_text())
    document["mode"] = mode
    document["output"]["dir"] = str(out)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    _python("-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})", environment=environment)
    return out


def hashes(out: Path) -> dict[str, str]:
    """Return the SHA-256 of each kind of file."""
    return {k: hashlib.sha256((out / f"{k}.jsonl").read_bytes()).hexdigest() for k in KINDS}


def arithmetic() -> dict[str, str]:
    """Return what the last bits of a pinned run depend on.

    Functions are compared by the values that they give, so that another version of a library
    that gives the same bits is the same arithmetic.
    """
    found: dict[str, str] = json.loads(_python("-c", _PROBE, environment=PINNED))
    return found


def lines(out: Path) -> dict[str, list[Any]]:
    """Return the lines of each kind of file."""
    return {kind: json_lines(out / f"{kind}.jsonl") for kind in KINDS}


def store(name: str, found: Mapping[str, list[Any]]) -> None:
    """Write the lines of a run, numbers rounded to `DECIMALS`."""
    text = "".join(
        json.dumps({kind: _rounded(line)}, separators=(",", ":")) + "\n"
        for kind in KINDS
        for line in found[kind]
    )
    # Without a time or a name in it, the same lines are the same file.
    _stored(name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def stored(name: str) -> dict[str, list[Any]]:
    """Return the stored lines of a run."""
    found: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for text in gzip.decompress(_stored(name).read_bytes()).decode().splitlines():
        ((kind, line),) = json.loads(text).items()
        found[kind].append(line)
    return found


def differences(golden: Mapping[str, list[Any]], found: Mapping[str, list[Any]]) -> Iterator[str]:
    """Yield each place at which two runs differ by more than the tolerance."""
    for kind in KINDS:
        if len(golden[kind]) != len(found[kind]):
            yield f"{kind}: {len(found[kind])} lines, golden {len(golden[kind])}"
        for number, pair in enumerate(zip(golden[kind], found[kind], strict=False), 1):
            a, b = (dict(_leaves(line)) for line in pair)
            if list(a) != list(b):
                yield f"{kind}:{number}: fields {list(b)}, golden {list(a)}"
            for field in a.keys() & b.keys():
                if not _same(field, a[field], b[field]):
                    yield f"{kind}:{number}{field}: {b[field]!r}, golden {a[field]!r}"


def _same(field: str, golden: Any, found: Any) -> bool:
    """Return whether two leaves are the same text or, within the tolerance, number."""
    if type(golden) is not type(found):
        return False
    if not isinstance(golden, float):
        return bool(golden == found)
    scale = LARGEST_SCALE if field.endswith("_ppm") else min(max(1.0, abs(golden)), LARGEST_SCALE)
    return bool(abs(found - golden) <= TOLERANCE * scale)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of all that is no object and no array; of empty ones too."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    else:
        yield path, value


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


def _stored(name: str) -> Path:
    return HERE / f"{name}.jsonl.gz"


def _python(*arguments: str, environment: Mapping[str, str] | None) -> str:
    """Run Python at the root of the tree, whose recordings and rules are named relative to it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_PROBE = """
import hashlib, importlib.metadata, json, math, platform, struct, sys
import numpy as np

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in arrays)).hexdigest()

x = (np.arange(1, 20001) * 0.6180339887498949 % 1 - 0.5) * 40
positive = np.abs(x)
m = np.resize(x, (64, 61, 61)) / 40
square = m @ m.transpose(0, 2, 1) + 61 * np.eye(61)
libm = [
    [f(v) for v in x.tolist()] for f in (math.exp, math.erfc, math.sin, math.cos, math.atan)
] + [[math.log(v) for v in positive.tolist()]]
print(json.dumps({
    "machine": platform.machine(),
    "system": platform.system(),
    "python": ".".join(platform.python_version_tuple()[:2]),
    "numpy": importlib.metadata.version("numpy"),
    "scipy": importlib.metadata.version("scipy"),
    "libm": digest(np.array(libm)),
    "functions": digest(np.exp(x), np.exp(1j * x), np.log(positive), np.log2(positive),
                        np.sin(x), np.cos(x), np.sinc(x), np.i0(positive), np.sqrt(positive),
                        np.cumsum(x), x.sum(), np.fft.rfft(x)),
    "algebra": digest(square, x @ x, np.linalg.inv(square), np.linalg.cholesky(square),
                      np.linalg.solve(square, m), np.linalg.pinv(m[0]),
                      np.einsum("kij,kij->k", m, m)),
}))
"""
