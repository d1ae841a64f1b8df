"""The run's side of the follower of the history."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from configs.outputs import StoreConfig
from configs.schema import Config
from sinks.files.parts import part_folder
from sinks.files.result_following import ResultFollowing
from sinks.history.back_end import AwayError, NoStoreError
from sinks.history.follower import FollowSettings
from sinks.history.open_store import opened


def settings_of(config: Config, store: StoreConfig) -> FollowSettings:
    """Return the settings of the follower of a configuration."""
    folders = (part_folder(config.output, number) for number in range(config.output.parts))
    return FollowSettings(
        store.dsn,
        tuple(str(folder) for folder in folders),
        config.output.mode,
        store.keep_d,
        store.minutes_d,
        store.every_s,
    )


class Following(ResultFollowing):
    """The follower of one run.

    Parameters
    ----------
    config : Config
        With a store.
    store : StoreConfig

    Raises
    ------
    HistoryError
        The store is foreign, newer or damaged. One that is away is no error.
    """

    def __init__(self, config: Config, store: StoreConfig) -> None:
        settings = settings_of(config, store)
        line = msgspec.json.encode(settings) + b"\n"
        super().__init__("store", "sinks.history.follow_process", line, settings.folders)
        _check(store.dsn)


def _check(dsn: str) -> None:
    """Refuse a store of another project or a wrong password, before anything starts."""
    with suppress(NoStoreError, AwayError):
        opened(dsn, read_only=True).close()
