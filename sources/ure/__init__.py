"""URE: a thread scrapes a page of Prometheus text at a fixed interval into the inbox."""

from sources.ure.ure import UreScraper, endpoint

__all__ = ["UreScraper", "endpoint"]
