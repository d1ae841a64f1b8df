"""Decoder of delimited text into columns; a bad cell costs that cell only."""

from sources.delimited.delimited import TableDecoder

__all__ = ["TableDecoder"]
