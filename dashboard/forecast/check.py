"""What was forecast against what then happened. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A forecast and the servers' own count of expirations, over the same steps.

    Args:
        predicted, happened: keys in all, over the steps for which both are known.
        off: mean of the difference per step, as a share of what happened on average, 0..; None: nothing happened.
        steps: how many were compared.
    """

    predicted: float
    happened: float
    off: float | None
    steps: int

    @property
    def total_off(self) -> float | None:
        """By how much the sum was off, as a share of what happened; above 0: too many were predicted."""
        return (self.predicted - self.happened) / self.happened if self.happened else None


def compare(predicted: Sequence[float], happened: Sequence[float | None]) -> Check:
    """Step by step; steps without a reading are left out."""
    pairs = [(a, b) for a, b in zip(predicted, happened, strict=True) if b is not None]
    forecast, truth = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    wrong = sum(abs(a - b) for a, b in pairs)
    return Check(forecast, truth, wrong / truth if truth else None, len(pairs))
