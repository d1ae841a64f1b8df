"""The extension, compiled into a folder of the tests: the checkout needs none."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from operators import native
from ops.text.extension import NoCompilerError, build


def loaded(path: Path) -> Any:
    """Return the extension of a file."""
    name = "operators.native.compiled"
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        return loaded(build(tmp_path_factory.mktemp("native")))
    except NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture
def both(kernels: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that calls another in both forms: (Python's result, the compiled one)."""

    def call(function: Any, *args: Any) -> tuple[Any, Any]:
        out = []
        for form in (None, kernels):
            monkeypatch.setattr(native, "kernels", form)
            out.append(function(*args))
        return out[0], out[1]

    return call
