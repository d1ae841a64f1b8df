"""Measurements: each module is a command of its own, with linear algebra in one thread."""

from configs.one_thread import one_thread

one_thread()
