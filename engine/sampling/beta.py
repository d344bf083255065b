"""The quantile function of the beta distribution, for the "beta" schedule; spares the studio all of SciPy.

Continued fraction of the incomplete beta function after Numerical Recipes §6.4 (Lentz), inverted by Newton steps kept
inside a bracket. Agrees with scipy.stats.beta.ppf to 1e-12 for the shapes a schedule uses (tests/unit).
"""

from __future__ import annotations

import math


def beta_quantile(probability: float, a: float, b: float) -> float:
    """x in 0..1 with I_x(a, b) = probability; `a`, `b` > 0."""
    if probability <= 0.0:
        return 0.0
    if probability >= 1.0:
        return 1.0
    low, high, x = 0.0, 1.0, 0.5
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(200):
        excess = _incomplete(x, a, b, log_norm) - probability
        low, high = (low, x) if excess > 0 else (x, high)
        density = math.exp(log_norm + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        proposed = x - excess / density
        if not low < proposed < high:
            proposed = (low + high) / 2
        if abs(proposed - x) <= 1e-16 + 1e-15 * x:
            return proposed
        x = proposed
    return x


def _incomplete(x: float, a: float, b: float, log_norm: float) -> float:
    front = math.exp(log_norm + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d or tiny)
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / ((1.0 + term * d) or tiny)
            c = (1.0 + term / c) or tiny
            value *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return value
