"""The shipped notes, read with tarfile, json and soundfile alone: whole, fair, and with no held-out thing in training;
and, where the synthesizer is at hand, that the builder makes the same bytes again."""

import ctypes.util
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "notes"
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
FIELDS = {
    "instrument", "family", "program", "pitch", "note", "register", "velocity", "loudness", "seconds", "captions",
}  # fmt: skip
LARGEST = 6_000_000
TRAIN, NOTES, INSTRUMENTS = "train", "held_out_notes", "held_out_instruments"
REGISTERS = ("very low", "low", "mid-range", "high", "very high")
LOUDNESS = {
    "very soft": "very softly",
    "soft": "softly",
    "moderate": "at a moderate volume",
    "loud": "loudly",
    "very loud": "very loudly",
}


@dataclass(frozen=True)
class Stored:
    """One sample as it lies in a shard."""

    shard: str
    key: str
    ogg: bytes
    fields: dict[str, Any]


def read_shard(path: Path) -> list[Stored]:
    parts: dict[str, dict[str, bytes]] = defaultdict(dict)
    with tarfile.open(path) as tar:
        for member in tar:
            key, extension = member.name.split(".", 1)
            data = tar.extractfile(member)
            assert data is not None, f"{member.name} in {path.name} is no plain file"
            assert extension not in parts[key], f"{member.name} lies twice in {path.name}"
            parts[key][extension] = data.read()
    assert all(set(part) == {"ogg", "json"} for part in parts.values())
    return [Stored(path.name, key, part["ogg"], json.loads(part["json"])) for key, part in parts.items()]


def read_splits(folder: Path) -> dict[str, list[Stored]]:
    listed = json.loads((folder / "info.json").read_text(encoding="utf-8"))["splits"]
    return {
        name: [sample for shard in split["shards"] for sample in read_shard(folder / shard)]
        for name, split in listed.items()
    }


def decode(sample: Stored) -> np.ndarray:
    with soundfile.SoundFile(io.BytesIO(sample.ogg)) as file:
        assert (file.samplerate, file.channels, file.format, file.subtype) == (16000, 1, "OGG", "VORBIS"), sample.key
        return file.read(dtype="float32")


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return json.loads((DATA / "info.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Stored]]:
    return read_splits(DATA)


@pytest.fixture(scope="module")
def samples(splits: dict[str, list[Stored]]) -> list[Stored]:
    return [sample for stored in splits.values() for sample in stored]


@pytest.fixture(scope="module")
def waves(samples: list[Stored]) -> dict[str, np.ndarray]:
    return {sample.key: decode(sample) for sample in samples}


def programs(stored: list[Stored]) -> set[int]:
    return {sample.fields["program"] for sample in stored}


def test_everything_together_is_at_most_six_megabytes():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= LARGEST


def test_info_lists_each_shard_and_counts_its_samples(info: dict[str, Any], splits: dict[str, list[Stored]]):
    assert set(splits) == {TRAIN, NOTES, INSTRUMENTS}
    assert sorted(shard for split in info["splits"].values() for shard in split["shards"]) == sorted(
        path.name for path in DATA.glob("*.tar*")
    )
    for name, stored in splits.items():
        told = info["splits"][name]
        assert told["samples"] == len(stored)
        assert told["seconds"] == pytest.approx(sum(sample.fields["seconds"] for sample in stored), abs=0.1)
        counted = Counter(sample.fields["family"] for sample in stored)
        assert told["samples_by_class"] == {family: counted[family] for family in info["classes"]}
        assert min(counted.values()) >= 20


def test_size_and_breadth_are_as_promised(info: dict[str, Any], samples: list[Stored]):
    assert len(samples) >= 2000
    assert len(info["classes"]) == len(set(info["classes"])) == 15
    assert len(programs(samples)) == sum(map(len, info["instruments"].values())) >= 110
    for sample in samples:
        assert sample.fields["instrument"] in info["instruments"][sample.fields["family"]]


def test_each_sample_says_all_about_itself(info: dict[str, Any], samples: list[Stored]):
    names = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    for sample in samples:
        fields = sample.fields
        assert set(fields) == FIELDS, sample.key
        assert sample.key == f"{fields['program']:03d}_{fields['pitch']:03d}_{fields['velocity']:03d}"
        # A family is eight programs of General MIDI; the classes are in its order.
        assert info["classes"][fields["program"] // 8] == fields["family"]
        assert fields["note"] == f"{names[fields['pitch'] % 12]}{fields['pitch'] // 12 - 1}"
        assert 1 <= fields["velocity"] <= 127


def test_no_note_lies_twice(samples: list[Stored]):
    repeated = [key for key, count in Counter(sample.key for sample in samples).items() if count > 1]
    assert repeated == []
    assert len({sample.ogg for sample in samples}) == len(samples)


def test_held_out_instruments_are_in_no_other_split(info: dict[str, Any], splits: dict[str, list[Stored]]):
    assert programs(splits[INSTRUMENTS]).isdisjoint(programs(splits[TRAIN]))
    assert programs(splits[NOTES]) == programs(splits[TRAIN])
    held_out = {(sample.fields["family"], sample.fields["instrument"]) for sample in splits[INSTRUMENTS]}
    assert Counter(family for family, _ in held_out) == dict.fromkeys(info["classes"], 2)
    assert sorted(name for _, name in held_out) == sorted(info["held_out_instruments"])


def test_held_out_notes_are_pitches_that_their_instrument_has_not_in_training(splits: dict[str, list[Stored]]):
    trained = {(sample.fields["program"], sample.fields["pitch"]) for sample in splits[TRAIN]}
    held_out = {(sample.fields["program"], sample.fields["pitch"]) for sample in splits[NOTES]}
    assert trained.isdisjoint(held_out)


def test_sounds_are_decodable_heard_not_clipped_and_as_long_as_told(
    samples: list[Stored], waves: dict[str, np.ndarray]
):
    for sample in samples:
        wave = waves[sample.key]
        assert len(wave) == round(sample.fields["seconds"] * 16000), sample.key
        assert 1.0 <= sample.fields["seconds"] <= 2.0
        spans = wave[: len(wave) // 1600 * 1600].reshape(-1, 1600)
        assert np.sqrt((spans**2).mean(axis=1)).max() > 10 ** (-62 / 20), f"{sample.key} is silent"
        assert np.abs(wave).max() < 1, f"{sample.key} is clipped"
        assert np.abs(wave[-16:]).max() < 0.02, f"{sample.key} ends with a click"


def test_what_is_called_loud_is_louder(splits: dict[str, list[Stored]], waves: dict[str, np.ndarray]):
    levels: dict[str, list[float]] = defaultdict(list)
    for sample in splits[TRAIN]:
        levels[sample.fields["loudness"]].append(20 * np.log10(waves[sample.key].std() + 1e-9))
    medians = [float(np.median(levels[word])) for word in LOUDNESS]
    assert all(louder > softer + 2 for softer, louder in pairwise(medians)), medians


def test_the_pitch_heard_is_the_pitch_told(splits: dict[str, list[Stored]], waves: dict[str, np.ndarray]):
    """Of flutes and other plain tones: the strongest partial is the note, or one of its first overtones."""
    plain = [each for each in splits[TRAIN] if each.fields["instrument"] in ("flute", "ocarina", "clarinet", "whistle")]
    assert len(plain) >= 60
    for sample in plain:
        wave = waves[sample.key]
        size = 1 << 16
        power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size))
        ratio = float(power.argmax()) * 16000 / size / (440 * 2 ** ((sample.fields["pitch"] - 69) / 12))
        assert abs(12 * np.log2(ratio / round(ratio))) < 0.6, (sample.key, ratio)


def said(text: str, words: tuple[str, ...]) -> str | None:
    """The longest of `words` in a text."""
    found = [word for word in words if f" {word} " in f" {text.replace(',', ' ').replace(':', ' ')} "]
    return max(found, key=len, default=None)


def test_captions_say_what_the_fields_say(samples: list[Stored]):
    for sample in samples:
        fields, captions = sample.fields, sample.fields["captions"]
        assert len(set(captions)) == len(captions) == 5, sample.key
        assert sum(fields["instrument"] in caption for caption in captions) >= 4
        assert any(fields["family"] in caption for caption in captions)
        for caption in captions:
            rest = caption.replace(fields["instrument"], "").replace(fields["family"], "")
            third = any(word in rest for word in ("low register", "middle register", "high register"))
            loud = said(rest, (*LOUDNESS, *LOUDNESS.values()))
            assert loud in (None, fields["loudness"], LOUDNESS[fields["loudness"]]), caption
            high = None if third else said(rest, REGISTERS)
            assert high in (None, fields["register"]), caption
            assert third or loud or high or fields["note"] in rest.split(), caption


def test_captions_are_varied_and_not_tied_to_a_split(splits: dict[str, list[Stored]]):
    words = {
        name: {word for sample in stored for caption in sample.fields["captions"] for word in caption.split()}
        for name, stored in splits.items()
    }
    assert len(words[TRAIN]) > 200
    captions = [caption for sample in splits[TRAIN] for caption in sample.fields["captions"]]
    assert len(set(captions)) > 0.7 * len(captions)
    # Only names of instruments and rare notes are new.
    names = {word for sample in splits[INSTRUMENTS] for word in sample.fields["instrument"].split()}
    new = {word.strip(",:") for word in words[INSTRUMENTS]} - {word.strip(",:") for word in words[TRAIN]} - names
    assert all(any(character.isdigit() for character in word) for word in new), new


def test_words_follow_pitch_and_velocity(samples: list[Stored]):
    for field, source, order in (("register", "pitch", REGISTERS), ("loudness", "velocity", tuple(LOUDNESS))):
        ranges = {word: [sample.fields[source] for sample in samples if sample.fields[field] == word] for word in order}
        for lower, higher in pairwise(order):
            assert max(ranges[lower]) < min(ranges[higher])


def test_each_shard_is_a_fair_draw(info: dict[str, Any], splits: dict[str, list[Stored]]):
    whole = Counter(sample.fields["family"] for sample in splits[TRAIN])
    for shard in info["splits"][TRAIN]["shards"]:
        here = Counter(sample.fields["family"] for sample in splits[TRAIN] if sample.shard == shard)
        for family in info["classes"]:
            expected = whole[family] / whole.total() * here.total()
            # Five standard deviations of a Poisson count: sorted or clustered shards are far outside.
            assert abs(here[family] - expected) < 5 * expected**0.5 + 1, family


def test_the_licence_stands_beside_the_notes(info: dict[str, Any]):
    text = (DATA / "LICENSES.md").read_text(encoding="utf-8")
    for part in ("Copyright (c) 2000-2002, 2008 Frank Wen", "Permission is hereby granted", 'PROVIDED "AS IS"'):
        assert part in text
    assert info["made_with"]["soundfont_sha256"] in text


@pytest.fixture(scope="module")
def same_tools(info: dict[str, Any]) -> None:
    """Skips where the builder would work with other versions than those that made the shipped notes."""
    name = ctypes.util.find_library("fluidsynth")
    if name is None or not SOUNDFONT.is_file():
        pytest.skip("needs Debian's packages fluidsynth and fluid-soundfont-gm")
    library = ctypes.CDLL(name)
    library.fluid_version_str.restype = ctypes.c_char_p
    here = {
        "fluidsynth": library.fluid_version_str().decode(),
        "libsndfile": soundfile.__libsndfile_version__,
        "soundfont": SOUNDFONT.name,
        "soundfont_sha256": hashlib.sha256(SOUNDFONT.read_bytes()).hexdigest(),
    }
    if here != info["made_with"]:
        pytest.skip(f"the notes were made with {info['made_with']}, and here is {here}")


@pytest.mark.slow
@pytest.mark.usefixtures("same_tools")
def test_the_builder_makes_the_same_notes_again(tmp_path: Path, splits: dict[str, list[Stored]]):
    chosen = [14, 41, 73, 118]
    command = [sys.executable, str(ROOT / "tools" / "notes_data.py"), "--programs", *map(str, chosen)]
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        run = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
    for name, stored in read_splits(first).items():
        shipped = [(each.key, each.ogg, each.fields) for each in splits[name] if each.fields["program"] in chosen]
        assert [(each.key, each.ogg, each.fields) for each in stored] == shipped, name
        assert len(shipped) >= 8
