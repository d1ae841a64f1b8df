"""quality: five indicators of the agreement of a signal's members, over a sliding window."""

from operators.quality.pair_spectra import BAND_HZ, QUALITY_HZ
from operators.quality.quality import Quality, QualityConfig

__all__ = ["BAND_HZ", "QUALITY_HZ", "Quality", "QualityConfig"]
