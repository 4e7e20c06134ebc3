"""A caption is a function of the fields and of the generator's seed; several are drawn equally often."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.captions import ComposedCaption, WrittenCaption
from triptych.data.source import BadSample
from triptych.errors import UserError

CAT = {"name": "orange cat", "tags": ["animal", "pet", "tabby"], "group": "animals-nature", "none": []}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**62), st.integers(1, 6))
def test_a_seed_gives_one_caption(seed: int, count: int) -> None:
    fields = {"caption": [f"c{number}" for number in range(count)], "alt": "other"}
    part = WrittenCaption(["caption", "alt"])
    assert part.draw(fields, seeded(seed)) == part.draw(fields, seeded(seed))
    assert part.draw(fields, seeded(seed)) in part.all(fields)


@pytest.mark.parametrize(
    "fields", [{"caption": list("abcde")}, {"caption": "a| b |c|d|e"}, {"caption": ["a|b", "c|d|e"]}]
)
def test_several_captions_are_drawn_equally_often(fields: dict[str, Any]) -> None:
    part = WrittenCaption(separator="|")
    generator = seeded(3)
    counts = Counter(part.draw(fields, generator) for _ in range(5000))
    assert set(counts) == set("abcde")
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_squared < 18.5, counts  # 0.1% of fair draws lie above, with 4 degrees of freedom


def test_all_captions_in_the_order_of_the_fields() -> None:
    fields = {"a": ["one", " ", "two "], "b": None, "c": 3}
    assert WrittenCaption(["c", "b", "a"]).all(fields) == ["3", "one", "two"]


@pytest.mark.parametrize("value", [None, "", "  ", [], ["", None], float("nan"), " | "])
def test_an_empty_caption_is_a_bad_sample(value: Any) -> None:
    for act in (lambda part: part.all({"caption": value}), lambda part: part.draw({"caption": value}, seeded(0))):
        with pytest.raises(BadSample, match="no caption: caption is empty"):
            act(WrittenCaption(separator="|"))
    assert WrittenCaption(separator="|").corpus({"caption": value}) == []


def test_templates_are_filled() -> None:
    part = ComposedCaption(["{name}", "a drawing of {a name}, {tags}", "{group}: {name}"], most_tags=2, plain=["group"])
    assert part.fields == ["name", "tags", "group"]
    drawn = {part.draw(CAT, seeded(seed)) for seed in range(400)}
    assert {"orange cat", "animals nature: orange cat"} < drawn
    tagged = {text.removeprefix("a drawing of an orange cat, ") for text in drawn if text.startswith("a drawing")}
    one, two = [{text for text in tagged if len(text.split(", ")) == count} for count in (1, 2)]
    assert one == {"animal", "pet", "tabby"}
    assert len(two) == 6, "every ordered pair of tags"
    assert tagged == one | two
    assert part.all(CAT) == ["orange cat"]
    assert part.draw(CAT, seeded(9)) == part.draw(CAT, seeded(9))


def test_templates_share_the_draws() -> None:
    part = ComposedCaption(["{name}", "a {name}", "the {name}", "the {name}"])
    counts = Counter(part.draw(CAT, seeded(seed)) for seed in range(4000))
    assert abs(counts["the orange cat"] - 2000) < 150
    assert abs(counts["orange cat"] - 1000) < 130


def test_a_template_whose_field_is_empty_is_not_drawn() -> None:
    part = ComposedCaption(["{none}", "{name}, {none}", "{name}"])
    assert {part.draw(CAT, seeded(seed)) for seed in range(50)} == {"orange cat"}
    assert part.all(CAT) == ["orange cat"]
    with pytest.raises(BadSample, match=r"each template needs a field that is empty \(none, other\)"):
        ComposedCaption(["{none}", "{name} {other}"]).all(CAT)


def test_the_corpus_has_every_word_that_is_drawn() -> None:
    part = ComposedCaption(["{a name}", "{tags} in {group}"], plain=["group"])
    words = {word for text in part.corpus(CAT) for word in text.replace(",", "").split()}
    drawn = {word for seed in range(200) for word in part.draw(CAT, seeded(seed)).replace(",", "").split()}
    assert drawn == words


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WrittenCaption([]), "name one field or more"),
        (lambda: WrittenCaption(["a", "a"]), "each once"),
        (lambda: WrittenCaption(separator=""), "separator is empty"),
        (lambda: ComposedCaption([]), "templates is empty"),
        (lambda: ComposedCaption(["a picture"]), "'a picture' has no field"),
        (lambda: ComposedCaption(["{name"]), "'{name': expected '}'"),
        (lambda: ComposedCaption(["{name!r}"]), "a field is written {name} or {a name}"),
        (lambda: ComposedCaption(["{}"]), "a field is written"),
        (lambda: ComposedCaption(["{name}"], most_tags=0), "most_tags is 0"),
        (lambda: WrittenCaption().all({"caption": {"raw": "x"}}), "'caption' holds fields of its own (raw)"),
    ],
)
def test_wrong_settings_are_told(make: Any, message: str) -> None:
    with pytest.raises(UserError) as told:
        make()
    assert message in str(told.value)
