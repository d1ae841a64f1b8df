"""The build hook of the wheel: one package, `lumen_fusion`, that holds the six rooms.

In a checkout the rooms are top-level packages, in the wheel they are subpackages. The hook copies
the rooms to a temporary folder, rewrites each module there, and gives the copy to hatchling:

- import statements: `from operators.settings.plan import Plan`, `import flows.fusion as f`;
- dotted names of modules of the tree within strings: step names, `-m` targets, help texts;
- `-m ops` and `from operators import` within strings, and the pair of arguments `"-m", "ops"`;
- the entry point `lumen`.

A plain `import sources.xdf` without `as` is refused while building if the module uses the name
`sources`: the rewritten statement would bind another name. Markdown pages are rewritten like
strings; other data files are copied as they are.

An editable install has no copy: it puts the checkout on the path.

The wheel is pure Python. With `LUMEN_WHEEL_NATIVE=1` in the environment it also holds the compiled
extension (`extension.py` beside this file), for this platform and Python 3.11 or later.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import os
import re
import shutil
import sysconfig
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "lumen_fusion"
ROOMS = ("flows", "operators", "sources", "sinks", "configs", "ops")
_INIT = '''"""Lumen Fusion: several streams, several clocks, one signal with its uncertainty."""
'''
_LEFT_OUT = ("__pycache__", "*.pyc", "*.so", "*.sum", ".*", "node_modules")
_ROOM = "|".join(ROOMS)
_DOTTED = re.compile(rf"(?<![\w./\\-])(?:{_ROOM})(?:\.[a-z_]\w*)+")
_LONE = re.compile(rf"(?<=-m )ops(?![\w./])|(?<=from )(?:{_ROOM})(?= import )")
_TOKENS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_BLANK = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}

Place = tuple[int, int]
"""Line, from 1, and column, from 0, of a character in a module."""


class RewriteError(ValueError):
    """A statement that has no equivalent below the package."""


def modules(root: Path) -> frozenset[str]:
    """Return the dotted names of all modules and packages of the rooms."""
    found = set()
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return frozenset(found)


def rewrite(source: str, known: frozenset[str]) -> str:
    """Return a module's source with all its references below the package.

    Parameters
    ----------
    source : str
    known : frozenset of str
        The modules of the tree, as `modules` returns them.

    Raises
    ------
    RewriteError
        The source binds a room's name by a plain import, and uses it.
    """
    lines = source.splitlines(keepends=True)
    changes = [*_imports(ast.parse(source)), *_strings(source, known)]
    for (line, column), old, new in sorted(changes, reverse=True):
        text = lines[line - 1]
        if not text.startswith(old, column):
            raise RewriteError(f"line {line}: expected {old!r} at column {column}")
        lines[line - 1] = text[:column] + new + text[column + len(old) :]
    return "".join(lines)


def _imports(tree: ast.Module) -> Iterator[tuple[Place, str, str]]:
    """Yield the changes of import statements."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _is_ours(node.module or ""):
            yield (
                (node.lineno, node.col_offset),
                f"from {node.module}",
                _below(node.module, "from "),
            )
        elif isinstance(node, ast.Import):
            for name in node.names:
                if not _is_ours(name.name):
                    continue
                if name.asname is None and name.name.partition(".")[0] in used:
                    raise RewriteError(f"line {node.lineno}: import {name.name} needs `as`")
                yield (name.lineno, name.col_offset), name.name, _below(name.name)


def _strings(source: str, known: frozenset[str]) -> Iterator[tuple[Place, str, str]]:
    """Yield the changes within strings, f-strings and docstrings."""
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TOKENS:
            lone = before == "-m" and token.string[1:-1] == "ops"
            for i, line in enumerate(token.string.split("\n")):
                row, first = token.start[0] + i, token.start[1] if i == 0 else 0
                for column, name in _references(line, known):
                    yield (row, first + column), name, _below(name)
                if lone:
                    yield (row, first + 1), "ops", _below("ops")
            before = token.string[1:-1]
        elif token.type not in _BLANK and token.string != ",":
            before = ""


def _references(line: str, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield column and name of each reference to a module in a line of text."""
    for match in _DOTTED.finditer(line):
        if _names_module(match[0], known):
            yield match.start(), match[0]
    for match in _LONE.finditer(line):
        yield match.start(), match[0]


def rewrite_text(text: str, known: frozenset[str]) -> str:
    """Return a page of text with its references to modules below the package."""
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        for column, name in sorted(_references(line, known), reverse=True):
            line = line[:column] + _below(name) + line[column + len(name) :]
        lines[i] = line
    return "".join(lines)


def _names_module(name: str, known: frozenset[str]) -> bool:
    """Return whether a dotted name is that of a module or of its member."""
    return name in known or name.rpartition(".")[0] in known - set(ROOMS)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ROOMS


def _below(module: str | None, keyword: str = "") -> str:
    return f"{keyword}{PACKAGE}.{module}"


def assemble(root: Path, target: Path) -> None:
    """Write the package into a folder: the rooms of `root`, each module rewritten."""
    known = modules(root)
    for room in ROOMS:
        shutil.copytree(
            root / room,
            target / room,
            ignore=shutil.ignore_patterns(
                "__pycache__", "*.pyc", "*.so", "*.sum", ".*", "node_modules"
            ),
        )
    for path in target.rglob("*.py"):
        try:
            text = rewrite(path.read_text("utf-8"), known)
        except RewriteError as error:
            raise RewriteError(f"{path.relative_to(target)}: {error}") from None
        path.write_text(text, "utf-8")
    for path in target.rglob("*.md"):
        path.write_text(rewrite_text(path.read_text("utf-8"), known), "utf-8")
    (target / "__init__.py").write_text(_INIT, "utf-8")
    (target / "py.typed").touch()


def compiled(root: Path, target: Path) -> str:
    """Put the extension into the package of a folder; return the tag of such a wheel.

    Raises
    ------
    RuntimeError
        The extension cannot be compiled here.
    """
    # By its path: the hook runs where the checkout is not on the path.
    spec = importlib.util.spec_from_file_location("extension", root / "ops/text/extension.py")
    assert spec is not None
    assert spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    extension.build(target / "operators" / "native")
    return "cp311-abi3-" + re.sub(r"\W", "_", sysconfig.get_platform())


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the package into the wheel. Cost: about 2 s."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the package into a temporary folder and add it to the wheel."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="lumen-wheel-")
        target = Path(self._folder.name, PACKAGE)
        target.mkdir()
        assemble(Path(self.root), target)
        if os.environ.get("LUMEN_WHEEL_NATIVE") == "1":
            build_data["tag"] = compiled(Path(self.root), target)
            build_data["pure_python"] = False
        build_data["force_include"][str(target)] = PACKAGE
        scripts = self.metadata.core.scripts
        scripts.update({name: _below(entry) for name, entry in scripts.items()})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if version != "editable":
            self._folder.cleanup()
