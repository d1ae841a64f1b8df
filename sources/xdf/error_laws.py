"""Laws that the errors of a clock's readings may follow, for lines fitted by weights.

With x = error / scale, an iteration weighs each reading by

    Student       (nu + 1) / (nu + x^2)          long tails: a wild reading is outvoted
    hyperbolic    zeta / sqrt(1 + x^2)           a narrow peak: calm readings count for more

and takes the mean of weight * error^2 for the scale's square, which raises the likelihood each
time. Of the answers to several questions the one with the shortest way is kept, so that errors
pile up around nothing as far as some ways are short: the narrow peak.

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
    """Student's law; of many degrees of freedom it is the normal one."""

    nu: float

    @property
    def less(self) -> float:
        """Inverse of Fisher's information, over what the weights alone say of the variance."""
        return (self.nu + 3) / (self.nu + 1)

    def weight(self, squared: F64) -> F64:
        """Return the weights of errors over scale, squared."""
        return np.asarray((self.nu + 1) / (self.nu + squared))

    def log(self, squared: F64) -> F64:
        """Return the log density of errors over scale, by their squares."""
        nu = self.nu
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        return np.asarray(constant - (nu + 1) / 2 * np.log1p(squared / nu))


_LOG_NORM = -1.810251
"""-log(2 K1(0.3))"""


@dataclass(frozen=True, slots=True)
class Peaked:
    """The hyperbolic law of zeta = 0.3: nearly two-sided exponential, its peak a little round."""

    zeta: float = 0.3
    less: float = 2.09169
    """As of `Student`; by integration."""

    def weight(self, squared: F64) -> F64:
        """Return the weights of errors over scale, squared."""
        return np.asarray(self.zeta / np.sqrt(1 + squared))

    def log(self, squared: F64) -> F64:
        """Return the log density of errors over scale, by their squares."""
        return np.asarray(_LOG_NORM - self.zeta * np.sqrt(1 + squared))


Law = Student | Peaked
