"""Lines of delimited text in, columns out; a bad cell costs that cell only."""

from sources.delimited.delimited import TableDecoder

__all__ = ["TableDecoder"]
