"""URE: a thread that scrapes a page of Prometheus text on a fixed beat, into the inbox."""

from sources.ure.ure import UreScraper, endpoint

__all__ = ["UreScraper", "endpoint"]
