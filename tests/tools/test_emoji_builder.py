"""The parts of the builder that decide something: names, selection, split, bytes of a shard."""

import gzip
import hashlib
import io
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tools.emoji.concepts import Concept, code_key, family
from tools.emoji.drawings import decode, encode, flatten, is_blank
from tools.emoji.icons import Icon, IconSet
from tools.emoji.likeness import likeness, without_near_copies
from tools.emoji.names import fold, look_up, match, tiers
from tools.emoji.packages import Package, fetch
from tools.emoji.selection import select
from tools.emoji.shards import Sample, pack, write_shards
from tools.emoji.split import choose_held_out, quotas, shuffled, split_of

GROUPS = ("faces", "flags", "things")


def concept(hexcode: str, caption: str = "", group: str = "things") -> Concept:
    return Concept(hexcode, "", caption or f"thing {hexcode}", (), group, "any")


def many(count: int) -> list[Concept]:
    return [concept(f"{0x1F300 + index:X}", group=GROUPS[index % 7 % 3]) for index in range(count)]


def icon_set(names: dict[str, str], aliases: dict[str, str] | None = None, coded: bool = True) -> IconSet:
    icons = {name: Icon("", 1, 1) for name in names.values()}
    return IconSet(icons, aliases or {}, names if coded else {})


def picture(seed: int, size: int = 16) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 200, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_code_key_ignores_what_sets_write_differently():
    assert code_key("2764-FE0F-200D-1F525") == code_key("2764-1f525") == "2764-1f525"


def test_person_man_and_woman_are_one_family():
    runner = {family(code) for code in ("1F3C3", "1F3C3-200D-2640-FE0F", "1F3C3-200D-2642-FE0F")}
    pilot = {family(code) for code in ("1F9D1-200D-2708-FE0F", "1F468-200D-2708-FE0F", "1F469-200D-2708-FE0F")}
    assert len(runner) == len(pilot) == 1
    assert runner != pilot


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("flag-for-norway", "flag: Norway"),
        ("flag-for-flag-norway", "flag: Norway"),
        ("flag-for-st-lucia", "flag: St. Lucia"),
        ("twelve-thirty", "Twelve Thirty"),
        ("rock-and-roll", "rock & roll"),
    ],
)
def test_fold_makes_one_name_of_two_spellings(one: str, other: str):
    assert fold(one) == fold(other)


def test_names_in_use_today_win_over_older_ones():
    sun = concept("2600", "sun")
    known = tiers([sun], [icon_set({"2600": "sun", "1f31e": "sun-with-face"}, {"sun": "sun-with-face"})], {})
    assert look_up(["sun"], known) == "2600"


def test_a_name_of_two_emoji_is_no_match():
    known = tiers([], [icon_set({"1f600": "grin"}), icon_set({"1f601": "grin"})], {"1F602": "grin"})
    assert look_up(["grin"], known) is None


def test_an_emoji_that_two_drawings_claim_gets_neither():
    known = tiers([concept("1F60E", "cool face")], [icon_set({"1f576": "glasses"})], {"1F60E": "SHADES"})
    foreign = icon_set({"a": "cool-face", "b": "shades", "c": "glasses", "d": "unheard-of"}, coded=False)
    assert match(foreign, known) == {"1f576": "glasses"}


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(5, 400), min_size=2, max_size=8), st.integers(10, 20))
@settings(max_examples=50, deadline=None)
def test_quotas_add_up_and_stay_near_proportion(sizes: dict[str, int], total: int):
    shares = quotas(sizes, total)
    assert sum(shares.values()) == total
    assert min(shares.values()) >= 1
    for group, size in sizes.items():
        # A share of at least one for small groups is taken from the large ones, at most one for each.
        assert abs(shares[group] - total * size / sum(sizes.values())) <= len(sizes)


def test_the_choice_of_held_out_concepts_depends_on_names_only():
    concepts = many(300)
    chosen = choose_held_out(concepts, 40)
    assert len(chosen) == 40
    assert choose_held_out(list(reversed(concepts)), 40) == chosen
    assert choose_held_out(concepts, 40, seed=7) != chosen


def test_held_out_concepts_are_spread_over_groups():
    concepts = many(300)
    chosen = choose_held_out(concepts, 30)
    counts = Counter(one.group for one in concepts if one.hexcode in chosen)
    wholes = Counter(one.group for one in concepts)
    assert all(abs(counts[group] - wholes[group] / 10) <= 1 for group in GROUPS)


def test_families_are_held_out_whole():
    people = [f"1F9D1-200D-{0x1F300 + index:X}" for index in range(60)]
    everyone = [code.replace("1F9D1", person) for code in people for person in ("1F9D1", "1F468", "1F469")]
    chosen = choose_held_out([concept(code) for code in everyone], 30)
    assert set(Counter(family(code) for code in chosen).values()) == {3}


def test_a_share_that_no_whole_family_fills_is_refused():
    trio = [concept(code) for code in ("1F3C3", "1F3C3-200D-2640-FE0F", "1F3C3-200D-2642-FE0F")]
    with pytest.raises(ValueError, match="cannot be filled with whole families"):
        choose_held_out(trio, 2)


@pytest.mark.parametrize(
    ("hexcode", "style_held_out", "split"),
    [
        ("A", False, "held_out_concepts"),
        ("A", True, "held_out_concepts"),
        ("B", True, "held_out_style"),
        ("B", False, "train"),
    ],
)
def test_a_held_out_concept_is_so_in_every_style(hexcode: str, style_held_out: bool, split: str):
    assert split_of(hexcode, style_held_out, {"A"}) == split


@given(st.sets(st.text(min_size=1), max_size=30))
@settings(max_examples=30, deadline=None)
def test_shuffling_forgets_the_order_of_its_input(names: set[str]):
    assert shuffled(sorted(names), str) == shuffled(sorted(names, reverse=True), str)
    assert set(shuffled(names, str)) == names


def test_selection_needs_three_hands_and_drops_what_looks_alike():
    known, lone, twin, blank = concept("A"), concept("B"), concept("C", "a far longer caption"), concept("D")
    flat = Image.new("RGB", (16, 16), "white")
    pictures = {
        "openmoji": {"a": picture(1), "b": picture(2), "c": picture(3), "d": picture(4)},
        "twemoji": {"a": picture(5), "b": picture(6), "c": picture(5), "d": flat},
        "noto": {"a": picture(7), "c": picture(8), "d": picture(9)},
    }
    assert select([twin, known, lone, blank], pictures) == [known]


def test_two_styles_by_one_hand_count_once():
    pictures = {style: {"a": picture(seed)} for seed, style in enumerate(("openmoji", "twemoji"))}
    assert select([concept("A")], pictures) == []
    pictures["fluent-flat"] = {"a": picture(5)}
    assert select([concept("A")], pictures) == [concept("A")]


def test_near_copies_are_found_whatever_their_margin():
    drawing = picture(1, size=40)
    small, moved = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
    small.paste(drawing, (2, 2))
    moved.paste(drawing, (20, 15))
    other = Image.new("RGB", (64, 64), "white")
    other.paste(picture(2, size=40).transpose(Image.Transpose.ROTATE_90).point(lambda value: 255 - value), (9, 9))
    kept, gone = without_near_copies(
        {"twemoji": {"a": small}, "noto": {"a": moved}, "openmoji": {"a": other}}, "twemoji"
    )
    assert gone == 1
    assert {style: set(drawn) for style, drawn in kept.items()} == {"twemoji": {"a"}, "noto": set(), "openmoji": {"a"}}


def test_likeness_tells_copies_from_other_drawings():
    concepts = many(80)
    drawn = {code_key(one.hexcode): picture(seed) for seed, one in enumerate(concepts)}
    (pair,) = (row for row in likeness({"one": drawn, "two": dict(drawn)}, concepts) if not row.flags)
    assert pair.same == 0
    assert pair.near_copies == 1
    assert pair.other > 0.05


def test_flattening_shows_what_is_clear_as_white_and_keeps_proportions():
    wide = Image.new("RGBA", (80, 40), (255, 0, 0, 255))
    wide.putpixel((0, 0), (0, 0, 0, 0))
    pixels = np.asarray(flatten(wide, 16))
    assert pixels.shape == (16, 16, 3)
    assert (pixels[0] > 250).all()
    assert (pixels[-1] > 250).all()
    assert pixels[8, 8].tolist() == [255, 0, 0]


def test_blank_means_one_colour():
    assert is_blank(np.full((8, 8, 3), 200, dtype=np.uint8))
    assert not is_blank(decode(encode(picture(0), 75)))


def sample(index: int) -> Sample:
    return Sample(concept(f"{0x1F300 + index:X}"), "noto", encode(picture(index), 75))


def test_a_shard_is_the_same_bytes_each_time_and_names_no_machine():
    packed = pack([sample(0), sample(1)])
    assert pack([sample(0), sample(1)]) == packed
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        "1F300_noto.webp",
        "1F300_noto.json",
        "1F301_noto.webp",
        "1F301_noto.json",
    ]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
        (0, 0, 0, "", 0o644)
    }


def test_shards_hold_all_samples_in_order_below_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tools.emoji.shards.SHARD_BYTES", 20_000)
    samples = [replace(sample(0), concept=concept(f"{index:X}")) for index in range(100)]
    samples = [replace(one, webp=np.random.default_rng(i).bytes(600)) for i, one in enumerate(samples)]
    names = write_shards(tmp_path, "train", samples)
    assert names == [f"train-{index:06d}.tar.gz" for index in range(len(names))]
    found = []
    for name in names:
        assert (tmp_path / name).stat().st_size < 22_000
        with tarfile.open(tmp_path / name) as tar:
            found += [member.name.removesuffix(".json") for member in tar if member.name.endswith(".json")]
    assert found == [one.key for one in samples]


def test_an_archive_that_is_not_the_pinned_one_is_refused(tmp_path: Path):
    package = Package("@some/set", "1.0.0", hashlib.sha256(b"the right one").hexdigest())
    (tmp_path / package.archive).write_bytes(b"another one")
    with pytest.raises(SystemExit, match=package.sha256):
        fetch(package, tmp_path)
