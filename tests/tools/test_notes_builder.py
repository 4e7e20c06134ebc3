"""The parts of the builder of notes that decide something: splits, words, levels, bytes of an Ogg file."""

import io
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tools.notes.encoding import encode, with_serial
from tools.notes.instruments import FAMILIES, INSTRUMENTS, LEFT_OUT, WITHOUT_NOTE, Instrument
from tools.notes.levels import fault
from tools.notes.plan import COUNTS, HELD_OUT_INSTRUMENTS, HELD_OUT_NOTES, TOGETHER, TRAIN, choose_held_out, notes_of
from tools.notes.soundfont import Recording, recordings
from tools.notes.synthesizer import OVERSAMPLING, RATE, decimate, fade_out
from tools.notes.words import captions, fields, note_name

PROGRAMS = [instrument.program for instrument in INSTRUMENTS]


def apart() -> dict[int, frozenset[Recording]]:
    """Programs that share recordings within the groups of TOGETHER alone."""
    found = {program: frozenset({(program, program + 1)}) for program in range(128)}
    for group in TOGETHER:
        found |= {program: found[program] | found[group[0]] for program in group}
    return found


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_every_program_is_rendered_or_left_out_for_a_reason():
    assert sorted([*PROGRAMS, *LEFT_OUT]) == list(range(128))
    assert len({instrument.name for instrument in INSTRUMENTS}) == len(INSTRUMENTS)
    assert all(instrument.lowest + 12 <= instrument.highest <= 108 for instrument in INSTRUMENTS)


def test_two_instruments_of_each_family_are_held_out():
    held_out = choose_held_out(apart())
    assert Counter(each.family for each in INSTRUMENTS if each.program in held_out) == dict.fromkeys(FAMILIES, 2)
    assert held_out >= {program for group in TOGETHER for program in group}


def test_an_instrument_that_shares_recordings_is_not_held_out_alone():
    shared = apart()
    first = min(choose_held_out(shared) - {program for group in TOGETHER for program in group})
    other = next(program for program in PROGRAMS if program // 8 == first // 8 and program != first)
    assert first not in choose_held_out(shared | {other: shared[other] | shared[first]})


def test_a_soundfont_that_shares_otherwise_is_refused():
    shared = apart()
    with pytest.raises(ValueError, match="programs 38 and 0 share recordings"):
        choose_held_out(shared | {0: shared[0] | shared[38]})
    brass = {program: shared[56] | shared[program] for program in range(56, 64)}
    with pytest.raises(ValueError, match="family brass: 0 instruments share no recording; 2 are needed"):
        choose_held_out(shared | brass)


@given(st.integers(0, 127), st.integers(0, 60), st.integers(8, 67), st.booleans())
def test_notes_lie_in_the_range_and_no_pitch_in_two_splits(program: int, lowest: int, size: int, held_out: bool):
    instrument = Instrument(program, "", "", "", lowest, lowest + size - 1)
    splits = notes_of(instrument, held_out)
    assert {name: len(notes) for name, notes in splits.items()} == {
        name: COUNTS[name] for name in ([HELD_OUT_INSTRUMENTS] if held_out else [TRAIN, HELD_OUT_NOTES])
    }
    notes = [note for split in splits.values() for note in split]
    assert len({note.key for note in notes}) == len(notes)
    assert all(lowest <= note.pitch < lowest + size and 30 <= note.velocity <= 127 for note in notes)
    pitches = [{note.pitch for note in split} for split in splits.values()]
    assert sum(map(len, pitches)) == len(set[int]().union(*pitches))
    assert splits == notes_of(instrument, held_out)


def test_drums_are_never_said_to_play_a_note():
    for instrument in INSTRUMENTS:
        notes = [note for split in notes_of(instrument, False).values() for note in split]
        named = [note_name(note.pitch) in caption.split() for note in notes for caption in captions(instrument, note)]
        assert any(named) == (instrument.program not in WITHOUT_NOTE), instrument.name


def test_words_of_a_note():
    violin = next(each for each in INSTRUMENTS if each.name == "violin")
    (note, *_) = notes_of(violin, False)[TRAIN]
    told = fields(violin, note)
    assert (told["family"], told["program"], told["seconds"]) == ("strings", 40, note.seconds)
    assert note_name(21) == "A0"
    assert note_name(60) == "C4"


def test_an_ogg_file_is_the_same_on_each_run_and_keeps_its_sound():
    wave = tone(440)
    stream = encode(wave)
    assert stream == encode(wave)
    decoded, rate = soundfile.read(io.BytesIO(stream), dtype="float32")
    assert rate == RATE
    assert decoded.shape == wave.shape
    assert np.abs(decoded - wave).max() < 0.1


def test_checksums_are_those_of_libsndfile():
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(300), RATE, format="OGG", subtype="VORBIS")
    stream = buffer.getvalue()
    serial = int.from_bytes(stream[14:18], "little")
    assert with_serial(stream, serial) == stream
    assert with_serial(stream, serial ^ 1) != stream
    with pytest.raises(ValueError, match="no Ogg page at byte 0"):
        with_serial(b"RIFF" + stream)


@pytest.mark.parametrize(("hertz", "gain"), [(100, 1.0), (6500, 1.0), (8300, 0.0), (15_000, 0.0)])
def test_what_would_alias_is_filtered_before_samples_are_dropped(hertz: float, gain: float):
    wave = tone(hertz, rate=RATE * OVERSAMPLING)
    out = decimate(np.stack([wave, wave]))
    assert out.shape == (RATE,)
    middle = out[1000:-1000]
    assert math.sqrt(2) * middle.std() == pytest.approx(0.5 * gain, abs=2e-3)


def test_faults_are_told_by_level():
    assert fault(tone(440)) is None
    assert fault(tone(440) * np.float32(2)) == "clipped"
    assert fault(tone(440) * np.float32(1e-3)) == "silent"
    short = np.zeros(RATE, dtype=np.float32)
    short[:1600] = tone(440, 0.1)
    assert fault(short) is None


def test_a_note_ends_in_silence():
    ended = fade_out(tone(440))
    assert abs(float(ended[-1])) < 1e-6
    assert (ended[: RATE // 2] == tone(440)[: RATE // 2]).all()


def test_what_is_no_soundfont_is_refused(tmp_path: Path):
    file = tmp_path / "no.sf2"
    file.write_bytes(b"RIFF\x04\x00\x00\x00WAVE")
    with pytest.raises(ValueError, match="no soundfont"):
        recordings(file)
    file.write_bytes(b"RIFF\x04\x00\x00\x00sfbk")
    with pytest.raises(ValueError, match="it has no ibag table"):
        recordings(file)
