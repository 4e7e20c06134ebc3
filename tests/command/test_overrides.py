"""Whatever a user types as a value reaches the configuration letter for letter."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.command.overrides import as_typed, quote
from triptych.errors import UserError

TEXT = frozenset({"data.root"})


def read_back(override: str) -> object:
    return OverridesParser.create().parse_override(override).value()


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30))
@settings(deadline=None)
@example("C:\\pictures\\")
@example("it's (1)=a,b:c")
@example("Größe ü 😀")
@example("\\'")
def test_quote_reads_back_the_same(text: str) -> None:
    assert read_back(f"key={quote(text)}") == text


@pytest.mark.parametrize(
    "path", ["/a/b=c", "/a,b", "/a (1)", "ärger/ü", "~/x y", "a:b", "1e3", "007", "true", "[x]", "{a}"]
)
def test_paths_are_accepted_as_typed(path: str) -> None:
    (override,) = as_typed([f"data.root={path}"], TEXT, "train")
    assert read_back(override) == path


def test_numbers_and_lists_of_other_fields_keep_their_types() -> None:
    assert [read_back(item) for item in as_typed(["a=3", "a=1e-3", "a=true", "a=[1,2]", "a=null"], TEXT, "train")] == [
        3,
        1e-3,
        True,
        [1, 2],
        None,
    ]


def test_a_sweep_stays_a_sweep_only_with_multirun() -> None:
    assert as_typed(["-m", "seed=1,2"], TEXT, "train") == ["seed=1,2", "-m"]
    assert as_typed(["seed=1,2"], TEXT, "train") == ["seed='1,2'"]


def test_two_choices_of_a_group_without_multirun_are_refused() -> None:
    with pytest.raises(UserError, match=r"optimizer=adamw,muon names several choices: .* with -m"):
        as_typed(["optimizer=adamw,muon"], TEXT, "train")


def test_a_word_that_is_no_override_is_told() -> None:
    with pytest.raises(UserError, match=r"'banana' is not an override: overrides are written key=value"):
        as_typed(["banana"], TEXT, "train")


def test_dotted_choice_of_a_nested_group_is_understood() -> None:
    assert as_typed(["model.tower.mixer=softmax"], TEXT, "train") == ["model/tower/mixer=softmax"]


def test_a_number_or_a_list_is_a_value_where_there_are_choices_too() -> None:
    words = ["data.image_size=32", "data.image_size=[32,48]"]
    assert as_typed(words, frozenset(), "train") == words
    assert as_typed(["data.image_size=native"], frozenset(), "train") == ["data/image_size=native"]


def test_other_data_leave_the_default_experiment_out() -> None:
    assert as_typed(["data=folder"], TEXT, "train") == ["data=folder", "~experiment"]
    assert as_typed(["data=folder", "experiment=emoji"], TEXT, "train") == ["data=folder", "experiment=emoji"]
    assert as_typed(["experiment=null"], TEXT, "train") == ["~experiment"]
    assert as_typed(["optimizer.lr=1"], TEXT, "train") == ["optimizer.lr=1"]


def test_flags_may_stand_anywhere() -> None:
    typed = ["data=folder", "--cfg", "job", "seed=1", "--resolve"]
    assert as_typed(typed, TEXT, "train") == ["data=folder", "seed=1", "~experiment", "--cfg", "job", "--resolve"]
