"""Whatever a user types as a value reaches the configuration letter for letter."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.command import groups
from triptych.command.following import contrasts
from triptych.command.overrides import as_typed, quote
from triptych.command.start import start
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
    assert as_typed(["model.tower.mixer=softmax"], TEXT, "evaluate") == ["model.tower.mixer=softmax"]
    assert as_typed(["model.tower.mixer=softmax"], TEXT, "benchmark") == ["model/tower/mixer=softmax"]


def test_a_number_or_a_list_is_a_value_where_there_are_choices_too() -> None:
    words = ["data.image_size=32", "data.image_size=[32,48]"]
    assert as_typed(words, frozenset(), "train") == words
    assert as_typed(["data.image_size=native"], frozenset(), "train") == ["data/image_size=native"]


@pytest.mark.parametrize(
    ("task", "typed", "added"),
    [
        ("train", "data=folder", "~experiment"),
        ("train", "data=folder experiment=emoji", ""),
        ("train", "optimizer.lr=1", ""),
        ("train", "model=vit_tiny_patch16_224", "experiment=emoji"),
        ("train", "objective=multi_label", "experiment=emoji"),
        ("train", "model.tower.depth=2", "experiment=emoji"),
        ("train", "model.tower.mixer=softmax data=folder", "~experiment"),
        ("train", "model=clip_vit_base_patch32_224", ""),
        ("train", "model.towers.image.depth=2", ""),
        ("train", "data=pairs_manifest", "~experiment model=clip_nano objective=contrastive"),
        ("train", "data=pairs_shards objective=siglip", "~experiment model=clip_nano"),
        ("train", "data=pair_manifest", "~experiment model=clip_nano objective=contrastive"),
        ("train", "data=pairs_shards model=vit_tiny_patch16_224", "~experiment"),
        ("learning_rate", "data=pairs_shards", "~experiment model=clip_nano objective=contrastive"),
        ("train", "objective/mix=mixup", "experiment=emoji"),
        ("finetune", "data=pairs_manifest", ""),
        ("finetune", "data=folder", ""),
        ("benchmark", "data=emoji_pairs", ""),
    ],
)
def test_the_other_parts_follow_the_kind_of_the_one_that_is_chosen(task: str, typed: str, added: str) -> None:
    given = [word.replace("model.tower.mixer=", "model/tower/mixer=") for word in typed.split()]
    assert as_typed(typed.split(), frozenset(), task) == [*given, *added.split()]


def test_a_choice_of_ones_own_is_of_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, begins in (("mine", "pairs_shards"), ("ours", "mine"), ("plain", "folder")):
        file = tmp_path / "conf" / "data" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Some data\ndefaults:\n  - {begins}\n  - _self_\n")
    monkeypatch.chdir(tmp_path)
    groups.choices.cache_clear()
    contrasts.cache_clear()
    try:
        assert [contrasts("data", name) for name in ("mine", "ours", "plain")] == [True, True, False]
    finally:
        groups.choices.cache_clear()
        contrasts.cache_clear()


def test_a_choice_that_a_file_has_no_place_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    own = (groups.roots()[0] / "model" / "timm.yaml").read_text()
    (tmp_path / "conf" / "model" / "own.yaml").write_text(own)
    monkeypatch.chdir(tmp_path)
    groups.choices.cache_clear()
    try:
        assert start("train", ["model=own", "data=folder", "data.root=x", "model/tower/pool=mean"]) == 2
    finally:
        groups.choices.cache_clear()
    assert "model/tower/pool=... has no place in model=own: its file does not choose a part" in capsys.readouterr().err


def test_no_experiment_is_an_answer() -> None:
    assert as_typed(["experiment=null"], TEXT, "train") == ["~experiment"]


def test_flags_may_stand_anywhere() -> None:
    typed = ["data=folder", "--cfg", "job", "seed=1", "--resolve"]
    assert as_typed(typed, TEXT, "train") == ["data=folder", "seed=1", "~experiment", "--cfg", "job", "--resolve"]


def test_bare_words_fill_the_keys_that_a_task_takes_so(tmp_path: Path) -> None:
    odd = tmp_path / "a=b,c"
    odd.mkdir()
    assert as_typed(["one", "tolerance=1", str(odd)], frozenset({"first", "second"}), "compare") == [
        "first='one'", "tolerance=1", f"second='{odd}'",
    ]  # fmt: skip
    assert as_typed(["--cfg", "job", "two", "first=one"], frozenset(), "compare") == [
        "second=two", "first=one", "--cfg", "job",
    ]  # fmt: skip
    with pytest.raises(UserError, match="'one' is not an override"):
        as_typed(["one"], frozenset(), "train")
