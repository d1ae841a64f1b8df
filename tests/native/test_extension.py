"""Building, loading and refusing the extension; memory safety by a sanitizer build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from operators import native
from ops.text import extension
from ops.text.extension import NAME, NoCompilerError, build

ROOT = Path(__file__).parents[2]
FORM = "from operators import native; print(native.form)"


def run(*arguments: str, folder: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != native.SWITCH} | environ,
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture
def copy(tmp_path, kernels):
    """Return a folder with the stations and a valid extension."""
    shutil.copytree(
        ROOT / "operators", tmp_path / "operators", ignore=shutil.ignore_patterns("__pycache__")
    )
    made = Path(kernels.__file__)
    for path in (made, made.with_suffix(".sum")):
        shutil.copy(path, tmp_path / "operators" / "native" / path.name)
    return tmp_path


def form(folder: Path, **environ: str) -> str:
    done = run("-P", "-c", f"import sys; sys.path.insert(0, '.'); {FORM}", folder=folder, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_extension_runs_unless_it_is_switched_off(copy):
    assert form(copy) == "compiled"
    assert form(copy, LUMEN_NATIVE="0") == "python (LUMEN_NATIVE=0)"
    (copy / "operators" / "native" / NAME).unlink()
    assert form(copy) == "python (not built)"


def test_an_extension_of_other_sources_is_refused(copy):
    with (copy / "operators" / "native" / "fit.c").open("a") as source:
        source.write("/* changed */\n")
    assert form(copy) == f"{native.REFUSED} it is damaged, or of other sources)"


def test_a_broken_extension_is_refused(copy):
    whole = (copy / "operators" / "native" / NAME).read_bytes()
    for broken in (b"", b"no library", whole[: len(whole) // 3]):
        (copy / "operators" / "native" / NAME).write_bytes(broken)
        assert form(copy) == f"{native.REFUSED} it is damaged, or of other sources)"


def test_a_file_that_is_no_extension_is_refused(copy):
    fake = copy / "operators" / "native" / NAME
    fake.write_bytes(b"no library")
    fake.with_suffix(".sum").write_text(native.checksums(fake))
    assert form(copy).startswith(f"{native.REFUSED} ")
    fake.with_suffix(".sum").unlink()
    assert form(copy) == f"{native.REFUSED} it is damaged, or of other sources)"


def test_a_machine_without_a_compiler_gets_one_line_and_an_exit_code(tmp_path):
    done = run("-m", "ops.text.extension", str(tmp_path), CC="no-such-compiler")
    assert done.returncode == 1
    assert done.stderr.startswith("No extension, Python runs instead: no C compiler")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_fails_leaves_the_earlier_extension(tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(b"earlier")
    monkeypatch.setenv("CC", "false")
    with pytest.raises(NoCompilerError, match="the compiler failed"):
        build(tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_headers_are_named(tmp_path, kernels, monkeypatch):
    monkeypatch.setattr(extension.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(NoCompilerError, match=r"no .*Python\.h"):
        build(tmp_path)


def test_the_checksums_are_those_that_the_loader_expects(copy):
    made = copy / "operators" / "native" / NAME
    assert native.is_whole(made)
    assert native.checksums(made) == extension.checksums(made)


def test_powers_of_ten_have_128_bits_and_are_rounded_up():
    rows = [line for line in extension.powers().splitlines() if line.startswith("{UINT64_C")]
    assert len(rows) == 617
    pairs = [[int(x.split(")")[0], 16) for x in row.split("(")[1:]] for row in rows]
    for power, (high, low) in zip(range(-292, 325), pairs, strict=True):
        scaled = (high << 64) + low
        assert 2**127 <= scaled < 2**128
        shift = (10 ** max(power, 0)).bit_length() if power >= 0 else 0
        if 0 <= power <= 38:
            assert scaled == 10**power << (128 - shift)


def test_the_sanitizers_find_nothing(tmp_path):
    try:
        made = build(tmp_path, sanitize=True)
    except NoCompilerError as error:
        pytest.skip(str(error))
    found = subprocess.run(
        [os.environ.get("CC", "cc"), "-print-file-name=libasan.so"], capture_output=True, text=True
    )
    library = found.stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("no AddressSanitizer on this machine")
    done = run(
        "-m", "tests.native.damaged_calls", str(made),
        LD_PRELOAD=library, ASAN_OPTIONS="detect_leaks=0", PYTHONMALLOC="malloc",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "no finding\n"), done.stderr[-3000:]


@pytest.mark.parametrize("switch", ["0", "1"])
def test_a_wheel_holds_the_extension_only_on_demand(tmp_path, kernels, switch):
    done = run(
        "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), LUMEN_WHEEL_NATIVE=switch
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    if switch == "0":
        assert (held, wheel.name.split("-")[2:]) == ([], ["py3", "none", "any.whl"])
        return
    assert held == [f"lumen_fusion/operators/native/{NAME}"]
    assert wheel.name.split("-")[2:4] == ["cp311", "abi3"]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    script = "from lumen_fusion.operators import native; print(native.form)"
    assert run("-c", script, folder=tmp_path / "installed").stdout == "compiled\n"
