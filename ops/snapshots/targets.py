"""What a command on snapshots is about: the store and the folder of its snapshots."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from configs.load import load
from configs.schema import Config
from ops.snapshots.faults import SnapshotError
from ops.snapshots.snapshot_folder import SnapshotFolder
from sinks.snapshots.names import SNAPSHOTS

DSN, CONFIG = "LUMEN_STORE_DSN", "LUMEN_CONFIG"
_SQLITE = "sqlite:"


@dataclass(frozen=True)
class Target:
    """A store and its snapshots.

    Attributes
    ----------
    dsn : str or None
    recovery : Path or None
        Folder of the recovery store.
    snapshots : SnapshotFolder
    config : Config or None
    """

    dsn: str | None
    recovery: Path | None
    snapshots: SnapshotFolder
    config: Config | None = None

    @property
    def sqlite(self) -> Path | None:
        """File of a store in SQLite."""
        return file_of(self.dsn)


def file_of(dsn: str | None) -> Path | None:
    """Return the file of a store in SQLite; None for another one."""
    return Path(dsn.removeprefix(_SQLITE)) if dsn and dsn.startswith(_SQLITE) else None


def add_target(parser: argparse.ArgumentParser, recovery: bool = False) -> None:
    """Declare the arguments that name a store."""
    parser.add_argument(
        "config",
        nargs="?",
        type=Path,
        metavar="CONFIG",
        help=f"the configuration with `store`; default ${CONFIG}",
    )
    parser.add_argument(
        "--store",
        metavar="DSN",
        help=f"the history, sqlite:PATH or postgresql://...; default ${DSN}, else that of CONFIG",
    )
    if recovery:
        parser.add_argument(
            "--recovery", type=Path, metavar="DIR", help="a recovery store (`lumen run --recover`)"
        )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="folder of the snapshots; default `snapshots` beside the store",
    )


def target_of(args: argparse.Namespace, *, needs_store: bool = True) -> Target:
    """Return the target that the arguments name.

    Raises
    ------
    SnapshotError
        No store is named, or the folder of its snapshots is unknown.
    ConfigError
        The configuration is invalid.
    """
    path = args.config or (Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None)
    config = load(path).config if path else None
    stated = config.store.dsn if config and config.store else None
    dsn = args.store or stated or os.environ.get(DSN)
    recovery: Path | None = getattr(args, "recovery", None)
    if needs_store and dsn is None:
        where = f"{path} has no key store: add it, or give" if path else "give CONFIG, or"
        raise SnapshotError(f"no store is named: {where} --store DSN")
    return Target(dsn, recovery, SnapshotFolder(_folder(args.dir, dsn, recovery, config)), config)


def _folder(
    stated: Path | None, dsn: str | None, recovery: Path | None, config: Config | None
) -> Path:
    if stated is not None:
        return stated
    if recovery is not None and dsn is None:
        return recovery.parent / SNAPSHOTS
    if store := file_of(dsn):
        return store.parent / SNAPSHOTS
    if config is not None:
        return Path(config.output.dir).parent / SNAPSHOTS
    raise SnapshotError("the folder of the snapshots is unknown: give CONFIG or --dir DIR")
