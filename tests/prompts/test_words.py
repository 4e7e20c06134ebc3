"""Templates and class names as people give them."""

from pathlib import Path

import pytest

from triptych.errors import UserError
from triptych.prompts.words import ClassFile, class_sets, labels_of, spoken, template_sets, templates_of


@pytest.mark.parametrize("name", template_sets())
def test_every_shipped_set_can_be_used(name: str) -> None:
    found = templates_of(name)
    assert found
    assert all(template.count("{}") == 1 for template in found)
    assert len(set(found)) == len(found)


def test_the_sets_of_imagenet_are_whole() -> None:
    assert len(templates_of("imagenet")) == 80
    assert set(templates_of("imagenet_7")) <= set(templates_of("imagenet"))
    names = ClassFile("imagenet").names
    assert (len(names), names[0], names[207], names[-1]) == (1000, "tench", "Golden Retriever", "toilet paper")
    assert class_sets() == ["imagenet"]


def test_templates_from_everywhere_at_once(tmp_path: Path) -> None:
    file = tmp_path / "my templates.txt"
    file.write_text("# mine\n\na {} of mine\n  #{} it is\n")
    assert templates_of(f"{file}| a big {{}} |photo|a big {{}}") == [
        "a {} of mine", "#{} it is", "a big {}", "a photo of a {}.",
    ]  # fmt: skip


def test_a_file_may_name_more_classes_and_in_another_order(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("dog\nred apple\ncat\nA\na\n")
    names, places = ClassFile(str(file)).fit(["Cat", "red_apple", "a", "A"], "val")
    assert [names[place] for place in places] == ["cat", "red apple", "a", "A"]
    assert len(names) == 5


def test_names_in_the_order_of_folders_that_have_none_of_them(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("tench\ngoldfish\n")
    assert ClassFile(str(file)).fit(["n01440764", "n01443537"], "val") == (["tench", "goldfish"], [0, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\n", "some lines are CLASS<tab>NAME and others, such as 'c', are not"),
        ("a\tb\na\tc\n", "names the class 'a' twice"),
        ("a\tcat\n", "has no name for the class 'b'"),
        ("# nothing\n", "is empty"),
    ],
)
def test_files_that_do_not_fit(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        ClassFile(str(file)).fit(["a", "b"], "val")


def test_folders_and_labels_are_spoken() -> None:
    assert spoken("red__apple_") == "red apple"
    assert labels_of(" a cat,a dog, ") == ["a cat", "a dog"]
