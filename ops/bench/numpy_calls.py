"""Calls of numpy by a packet at each station.

`python -m ops.bench.chain --calls` runs this module, since the counters have to be in place before
the stations are imported. The source of `operators` is compiled with a counter around each
expression that may reach numpy. _Counted are

- calls of numpy's functions, ufuncs and their methods, and of methods of arrays and numpy scalars,
- arithmetic, comparison and assignment in place with an array or numpy scalar as result,
- indexing of arrays, for reading or writing.

A call within numpy is not counted. Attributes of arrays and `len` are not either.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from ops.text.table import table

_ARRAY = (np.ndarray, np.generic)
_ROOM = "operators"


class Counter:
    """The number of calls so far; its methods return their argument."""

    def __init__(self) -> None:
        self.calls = 0

    def called(self, function: Any) -> Any:
        """Count the call of a function of numpy or of a method of an array."""
        owner = getattr(function, "__self__", None)
        home = getattr(function, "__module__", None) or ""
        ours = isinstance(function, np.ufunc) or isinstance(owner, (*_ARRAY, np.ufunc))
        self.calls += ours or home.partition(".")[0] == "numpy"
        return function

    def made(self, result: Any) -> Any:
        """Count an operation with an array or a numpy scalar as result."""
        self.calls += isinstance(result, _ARRAY)
        return result

    def indexed(self, value: Any) -> Any:
        """Count the indexing of an array."""
        self.calls += isinstance(value, np.ndarray)
        return value


class _Counted(ast.NodeTransformer):
    """Puts the counter around the expressions of functions; annotations are unchanged."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        for item in ast.walk(node):
            if isinstance(item, ast.FunctionDef):
                item.body = [line for old in item.body for line in self._lines(old)]
        return node

    def _lines(self, node: ast.stmt) -> Sequence[ast.stmt]:
        made = self.visit(node)
        return made if isinstance(made, list) else [made]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node  # an inner function has a turn of its own

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.target = self.visit(node.target)
        node.value = node.value and self.visit(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.func = _around("called", node.func)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        node.value = _around("indexed", node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        self.generic_visit(node)
        if isinstance(node.target, ast.Subscript):
            return node
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        return [node, ast.copy_location(ast.Expr(_around("made", read)), node)]

    def _result(self, node: ast.expr) -> ast.expr:
        self.generic_visit(node)
        return _around("made", node)

    visit_BinOp = visit_UnaryOp = visit_Compare = _result  # noqa: N815


def counting(source: str | bytes) -> ast.Module:
    """Return the tree of a module that counts its calls by `__numpy_calls__`."""
    tree: ast.Module = _Counted().visit(ast.parse(source))
    return ast.fix_missing_locations(tree)


def _around(method: str, node: ast.expr) -> ast.expr:
    """Return the node as the argument of one of the counter's methods."""
    counter = ast.Name("__numpy_calls__", ast.Load())
    return ast.copy_location(ast.Call(ast.Attribute(counter, method, ast.Load()), [node], []), node)


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(counting(self.get_data(path)), path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        own = fullname.partition(".")[0] == _ROOM
        if own and spec and spec.origin and spec.origin.endswith(".py"):
            spec.loader = _Loader(fullname, spec.origin)
            return spec
        return None


def installed() -> Counter:
    """Return the counter of all stations that are imported from now on.

    Raises
    ------
    RuntimeError
        Stations are imported already.
    """
    if any(name.partition(".")[0] == _ROOM for name in sys.modules):
        raise RuntimeError(f"{_ROOM} is imported before its counters")
    counter = Counter()
    builtins.__numpy_calls__ = counter  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder())
    return counter


def main() -> None:
    """Print the calls of a packet at each station, by block length."""
    counter = installed()
    # Only now may the stations be imported.
    from flows.pipeline import STATIONS
    from ops.bench import chain

    columns = [chain.calls(case, lambda: counter.calls) for case in chain.PACKETS]
    rows = [[name, *(f"{c[i]:.1f}" for c in columns)] for i, name in enumerate([*STATIONS, "all"])]
    print(table(["numpy calls a packet", *(case.name for case in chain.PACKETS)], rows))


if __name__ == "__main__":
    main()
