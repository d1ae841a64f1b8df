"""Error distributions of clock readings, for lines fitted by iterated weights.

With x = error / scale, an iteration weighs each reading by

    Student       (nu + 1) / (nu + x^2)          long tails: outliers lose weight
    hyperbolic    zeta / sqrt(1 + x^2)           a narrow peak: accurate readings gain weight

and sets scale^2 to the mean of weight * error^2, which raises the likelihood at each iteration.
Of several measurements, a recorder keeps the one with the shortest round trip. Short round trips
therefore accumulate near error 0: the narrow peak.

Sources: Lange, Little & Taylor, J. Am. Stat. Assoc. 84 (1989); Barndorff-Nielsen, Proc. R. Soc.
Lond. A 353 (1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from operators.types import F64


@dataclass(frozen=True, slots=True)
class Student:
    """Student's distribution; with many degrees of freedom it is nearly normal."""

    nu: float

    @property
    def less(self) -> float:
        """Inverse Fisher information, over the variance by the weights alone."""
        return (self.nu + 3) / (self.nu + 1)

    def weight(self, squared: F64) -> F64:
        """Return the weights, given (error / scale)^2."""
        return np.asarray((self.nu + 1) / (self.nu + squared))

    def log(self, squared: F64) -> F64:
        """Return the log density of error / scale, given its square."""
        nu = self.nu
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        return np.asarray(constant - (nu + 1) / 2 * np.log1p(squared / nu))


_LOG_NORM = -1.810251
"""-log(2 K1(0.3))"""


@dataclass(frozen=True, slots=True)
class Peaked:
    """The hyperbolic distribution of zeta = 0.3: nearly Laplacian, its peak slightly round."""

    zeta: float = 0.3
    less: float = 2.09169
    """As of `Student`; by numerical integration."""

    def weight(self, squared: F64) -> F64:
        """Return the weights, given (error / scale)^2."""
        return np.asarray(self.zeta / np.sqrt(1 + squared))

    def log(self, squared: F64) -> F64:
        """Return the log density of error / scale, given its square."""
        return np.asarray(_LOG_NORM - self.zeta * np.sqrt(1 + squared))


Law = Student | Peaked
