"""Speech Commands in the layout of its archive: words are classes, lists say what is held out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.data.sound import Sounds
from triptych.data.source import EncodedSource
from triptych.data.speech_commands import SpeechCommands
from triptych.errors import UserError

WORDS = ("no", "yes", "zero")


@pytest.fixture
def archive(tmp_path: Path, sound: Callable[..., bytes]) -> Path:
    """Three words of six recordings; of each the third is for validation, the fifth for test."""
    root = tmp_path / "speech"
    for word, name in enumerate(WORDS):
        (root / name).mkdir(parents=True)
        for take in range(6):
            (root / name / f"{take:08x}_nohash_0.wav").write_bytes(sound(6 * word + take, "wav"))
    (root / "_background_noise_").mkdir()
    (root / "_background_noise_" / "pink_noise.wav").write_bytes(sound(99, "wav"))
    for name, take in (("validation_list.txt", 2), ("testing_list.txt", 4)):
        (root / name).write_text("".join(f"{word}/{take:08x}_nohash_0.wav\n" for word in WORDS))
    return root


@pytest.mark.parametrize(
    ("split", "takes"), [("train", [0, 1, 3, 5]), ("validation", [2]), ("test", [4])]
)  # fmt: skip
@pytest.mark.parametrize("layout", ["archive", "torchaudio"])
def test_lists_say_what_is_held_out(
    layout: str, split: str, takes: list[int], archive: Path, waveform: Callable[..., Tensor], tmp_path: Path
) -> None:
    if layout == "torchaudio":
        (tmp_path / "SpeechCommands").mkdir()
        archive.rename(tmp_path / "SpeechCommands" / "speech_commands_v0.02")
        archive = tmp_path
    source = SpeechCommands(str(archive), split)
    assert source.classes == list(WORDS)
    assert isinstance(source, EncodedSource)
    wanted = [(word, take) for word in range(3) for take in takes]
    assert len(source) == len(wanted)
    for index, (word, take) in enumerate(wanted):
        found, label = source.read(index)
        assert torch.equal(found, waveform(6 * word + take))
        assert (label, Path(source.name(index)).parent.name) == (word, WORDS[word])


def test_sounds_come_at_the_rate_of_the_medium(archive: Path) -> None:
    assert SpeechCommands(str(archive), medium=Sounds(8_000)).read(0)[0].shape == (1, 400)


def test_recordings_that_are_missing_are_told(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    (archive / "no" / "00000002_nohash_0.wav").unlink()
    with caplog.at_level("WARNING", "triptych.data"):
        assert len(SpeechCommands(str(archive), "validation")) == 2
    assert "1 of the 3 recordings of validation_list.txt are not there" in caplog.text


def test_what_is_not_the_archive_is_told(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder of Speech Commands .*speach does not exist: .* mean 'speech'\?"):
        SpeechCommands(str(tmp_path / "speach"))
    with pytest.raises(UserError, match=r"split is 'tests'; did you mean 'test'\?"):
        SpeechCommands(str(archive), "tests")
    (archive / "testing_list.txt").unlink()
    with pytest.raises(
        UserError, match=r"has no testing_list.txt, which says what is held out: set data.root .*2.3 GB"
    ):
        SpeechCommands(str(archive))
    (archive / "testing_list.txt").write_text("")
    with pytest.raises(UserError, match=r"has no sounds for the split 'test'"):
        SpeechCommands(str(archive), "test")
    for word in ("no", "zero"):
        (archive / word).rename(archive / f"_{word}")
    with pytest.raises(UserError, match=r"has 1 folders of words: unpack the archive there"):
        SpeechCommands(str(archive))
