"""Levels of a sound, in dB of full scale, and which notes are left out for theirs."""

import math

import numpy as np

from .synthesizer import RATE, Samples

SILENT = -60.0
"""dB: a note is silent whose loudest tenth of a second has less power than this."""

CLIPPED = -0.1
"""dB: a note is clipped whose peak reaches this."""

SPAN = RATE // 10


def decibels(amplitude: float) -> float:
    """Of full scale; -200 for none at all."""
    return 20 * math.log10(max(amplitude, 1e-10))


def peak(wave: Samples) -> float:
    """The largest amplitude."""
    return decibels(float(np.abs(wave).max()))


def loudest(wave: Samples) -> float:
    """Root mean square of the loudest tenth of a second, of those that follow each other."""
    spans = wave[: len(wave) // SPAN * SPAN].reshape(-1, SPAN).astype(np.float64)
    return decibels(float(np.sqrt((spans**2).mean(axis=1).max())))


def fault(wave: Samples) -> str | None:
    """`silent` or `clipped`; None for a note to keep."""
    if loudest(wave) < SILENT:
        return "silent"
    return "clipped" if peak(wave) >= CLIPPED else None
