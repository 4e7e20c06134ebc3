"""What is said of a note: register out of its pitch, loudness out of its velocity, captions of both."""

from typing import Any

from .instruments import WITHOUT_NOTE, Instrument
from .plan import Note, shuffled

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

REGISTERS = ((39, "very low"), (51, "low"), (71, "mid-range"), (83, "high"), (127, "very high"))
"""Highest pitch that each word is said of, whatever the instrument."""

RANGE_THIRDS = ("low", "middle", "high")
"""Words for the third of the instrument's own range."""

LOUDNESS = (
    (48, "very soft", "very softly"),
    (67, "soft", "softly"),
    (87, "moderate", "at a moderate volume"),
    (107, "loud", "loudly"),
    (127, "very loud", "very loudly"),
)
"""Highest velocity that each pair of words is said of."""

OF_INSTRUMENT = (
    "{a_register} note on {spoken}, played {adverb}",
    "{spoken} playing {a_register} note {adverb}",
    "{note} on {spoken}, {adjective}",
    "the sound of {spoken}: {a_register}, {adjective} note",
    "{a_adjective} {instrument} note, {register}",
    "someone plays {note} {adverb} on {spoken}",
    "{a_register} {instrument} note",
    "{spoken}, played {adverb}",
)
OF_RANGE = (
    "{a_adjective} note in the {third} register of {spoken}",
    "{spoken} in the {third} register, played {adverb}",
    "the {third} register of {spoken}, {adjective}",
)
OF_FAMILY = (
    "{a_register} note on an instrument of the {family} family, played {adverb}",
    "{a_manner} note of the {family} family, {register} and {adjective}",
    "{family}: {a_register}, {adjective} note",
    "an instrument of the {family} family playing {note} {adverb}",
)
MOST_OF_INSTRUMENT = 3
"""Captions of a note out of OF_INSTRUMENT; of the others it has one each."""


def note_name(pitch: int) -> str:
    """Name and octave of a MIDI pitch, middle C being C4.

    >>> note_name(60), note_name(70)
    ('C4', 'A#4')
    """
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def register(pitch: int) -> str:
    """How high a pitch is, whatever plays it."""
    return next(word for highest, word in REGISTERS if pitch <= highest)


def third(instrument: Instrument, pitch: int) -> str:
    """How high a pitch is on an instrument."""
    return RANGE_THIRDS[3 * (pitch - instrument.lowest) // (instrument.highest - instrument.lowest + 1)]


def loudness(velocity: int) -> tuple[str, str]:
    """How loud a velocity is: adjective and adverb."""
    return next((adjective, adverb) for highest, adjective, adverb in LOUDNESS if velocity <= highest)


def with_article(text: str) -> str:
    """`text` after its indefinite article."""
    return f"an {text}" if text[0] in "aeiou" else f"a {text}"


def captions(instrument: Instrument, note: Note) -> list[str]:
    """Five different captions: three that name the instrument, one its register, one the family.

    The note's name is in none of an instrument of WITHOUT_NOTE.
    """
    adjective, adverb = loudness(note.velocity)
    words = {
        "instrument": instrument.name,
        "spoken": instrument.spoken,
        "family": instrument.family,
        "a_manner": with_article(instrument.manner),
        "note": note_name(note.pitch),
        "register": register(note.pitch),
        "a_register": with_article(register(note.pitch)),
        "third": third(instrument, note.pitch),
        "adjective": adjective,
        "a_adjective": with_article(adjective),
        "adverb": adverb,
    }
    drawn = []
    for templates, count in ((OF_INSTRUMENT, MOST_OF_INSTRUMENT), (OF_RANGE, 1), (OF_FAMILY, 1)):
        fit = [each for each in templates if "{note}" not in each or instrument.program not in WITHOUT_NOTE]
        drawn += shuffled(fit, lambda template: f"caption/{note.key}/{template}")[:count]
    return [template.format(**words) for template in drawn]


def fields(instrument: Instrument, note: Note) -> dict[str, Any]:
    """All that is stored beside a note's sound."""
    return {
        "instrument": instrument.name,
        "family": instrument.family,
        "program": note.program,
        "pitch": note.pitch,
        "note": note_name(note.pitch),
        "register": register(note.pitch),
        "velocity": note.velocity,
        "loudness": loudness(note.velocity)[0],
        "seconds": note.seconds,
        "captions": captions(instrument, note),
    }
