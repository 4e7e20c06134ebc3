"""Sound of one note: libfluidsynth plays it at 48 kHz without reverb, numpy makes 16 kHz mono of that."""

import ctypes
import ctypes.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 16_000
OVERSAMPLING = 3
"""The synthesizer resamples recordings without a filter: what would alias lies above 16 kHz at 48 kHz."""

TAPS = 191
CUTOFF = 7_400.0
"""Hz, middle of the filter's slope: about 60 dB down at 8 kHz, flat to 6.8 kHz."""

HELD = 0.75
"""Part of a note's length for which its key is down; the rest is its release."""

FADE = 0.03
"""Seconds at the end over which a sound that still rings fades to nothing."""

GAIN = 1.0
"""One for all notes: how loud instruments are beside each other is as the soundfont's author balanced them."""

INTERPOLATION = 7
"""Seventh order, the best that the synthesizer has."""

SETTINGS: dict[str, float | int] = {
    "synth.sample-rate": float(RATE * OVERSAMPLING),
    "synth.gain": GAIN,
    "synth.reverb.active": 0,
    "synth.chorus.active": 0,
    "synth.cpu-cores": 1,
}

Samples = npt.NDArray[np.float32]


def low_pass() -> npt.NDArray[np.float64]:
    """Windowed sinc (Kaiser, beta 6), of unit gain at 0 Hz."""
    at = np.arange(TAPS) - (TAPS - 1) / 2
    kernel = np.sinc(2 * CUTOFF / (RATE * OVERSAMPLING) * at) * np.kaiser(TAPS, 6.0)
    return kernel / kernel.sum()


def decimate(stereo: Samples) -> Samples:
    """Mono at RATE of `(2, samples)` at RATE * OVERSAMPLING: both channels' mean, filtered, each third sample."""
    mono = stereo.astype(np.float64).mean(axis=0)
    return np.convolve(mono, low_pass(), mode="same")[::OVERSAMPLING].astype(np.float32)


def fade_out(wave: Samples) -> Samples:
    """`wave` with its last FADE seconds brought down to zero by half a cosine."""
    count = round(FADE * RATE)
    slope = 0.5 + 0.5 * np.cos(np.pi * (np.arange(count) + 1) / count)
    return np.concatenate([wave[:-count], wave[-count:] * slope.astype(np.float32)])


def on_grid(wave: Samples) -> Samples:
    """`wave` rounded to 16 bits: what the last bits of sums are differs between processors, and is gone here."""
    return (np.round(wave.astype(np.float64) * 2**15) / 2**15).astype(np.float32)


class Synthesizer:
    """libfluidsynth with one soundfont.

    Each note comes of a synthesizer made for it alone: a voice that is used again keeps the state of its filter, and a
    note would then depend, in its last bits, on those before it.

    Args:
        soundfont: `.sf2` file.

    Raises:
        RuntimeError: no libfluidsynth on this machine, or it cannot read the file.
    """

    def __init__(self, soundfont: Path) -> None:
        name = ctypes.util.find_library("fluidsynth")
        if name is None:
            raise RuntimeError("no libfluidsynth on this machine: install fluidsynth")
        self._library = ctypes.CDLL(name)
        for made in ("new_fluid_settings", "new_fluid_synth"):
            getattr(self._library, made).restype = ctypes.c_void_p
        self._library.fluid_version_str.restype = ctypes.c_char_p
        self._soundfont = soundfont
        self._settings = ctypes.c_void_p(self._library.new_fluid_settings())
        for key, value in SETTINGS.items():
            self._set(key, value)
        # Never played: while it holds the soundfont, the library's cache keeps the recordings for the others.
        self._keeper = self._synth()

    @property
    def version(self) -> str:
        """Version of the library, such as `2.3.1`."""
        return self._library.fluid_version_str().decode()

    def note(self, program: int, pitch: int, velocity: int, seconds: float) -> Samples:
        """One note, `(round(seconds * RATE),)`; its key is down for HELD of it."""
        count = round(seconds * RATE)
        call, synth = self._library, self._synth()
        call.fluid_synth_program_change(synth, 0, program)
        call.fluid_synth_noteon(synth, 0, pitch, velocity)
        sounding = self._write(synth, round(HELD * count) * OVERSAMPLING)
        call.fluid_synth_noteoff(synth, 0, pitch)
        ending = self._write(synth, count * OVERSAMPLING - sounding.shape[1])
        call.delete_fluid_synth(synth)
        return on_grid(fade_out(decimate(np.concatenate([sounding, ending], axis=1))))

    def _synth(self) -> ctypes.c_void_p:
        synth = ctypes.c_void_p(self._library.new_fluid_synth(self._settings))
        self._library.fluid_synth_set_interp_method(synth, -1, INTERPOLATION)
        if self._library.fluid_synth_sfload(synth, str(self._soundfont).encode(), 1) < 0:
            raise RuntimeError(f"{self._soundfont} cannot be read by fluidsynth")
        return synth

    def _write(self, synth: ctypes.c_void_p, count: int) -> Samples:
        """The next `count` samples, `(2, count)`."""
        out = np.zeros((2, count), dtype=np.float32)
        left, right = (channel.ctypes.data_as(ctypes.c_void_p) for channel in out)
        self._library.fluid_synth_write_float(synth, count, left, 0, 1, right, 0, 1)
        return out

    def _set(self, key: str, value: float | int) -> None:
        if isinstance(value, float):
            self._library.fluid_settings_setnum(self._settings, key.encode(), ctypes.c_double(value))
        else:
            self._library.fluid_settings_setint(self._settings, key.encode(), value)
