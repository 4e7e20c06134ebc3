"""What a concept is: one emoji without its skin tones, with caption, tags and group as emojibase gives them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

# emojibase leaves the 26 regional indicator letters without a group; Unicode calls them emoji components.
LETTERS = re.compile(r"regional indicator [A-Z]")
COMPONENT = "component"
LETTER_SUBGROUP = "regional-indicator"
# These are the mirror image of another concept, which a horizontal flip turns into each other.
MIRRORED = ": facing right"
ZERO_WIDTH_JOINER = "200d"
VARIATION_SELECTOR = "fe0f"
PEOPLE = {"1f468", "1f469", "1f9d1"}
GENDERS = {"2640", "2642"}


@dataclass(frozen=True)
class Concept:
    """One emoji: `hexcode` and `emoji` name it, the rest describes it. `group` is the class."""

    hexcode: str
    emoji: str
    caption: str
    tags: tuple[str, ...]
    group: str
    subgroup: str


def code_key(hexcode: str) -> str:
    """Code points as the sets agree on them: lower case, without joiners and variation selectors.

    >>> code_key("1F468-200D-2695-FE0F")
    '1f468-2695'
    """
    parts = hexcode.lower().split("-")
    return "-".join(part for part in parts if part not in (VARIATION_SELECTOR, ZERO_WIDTH_JOINER))


def family(hexcode: str) -> str:
    """Key that the person, the man and the woman of one emoji share, so that a split keeps them together.

    >>> family("1F468-200D-1F680") == family("1F9D1-200D-1F680")
    True
    """
    parts = [part for part in code_key(hexcode).split("-") if part not in GENDERS]
    rest = ["person" if part in PEOPLE else part for part in parts]
    return "-".join(rest)


def group_names(emojibase: Path) -> list[str]:
    """The ten groups of emojibase in its own order; the class names."""
    messages = json.loads((emojibase / "en" / "messages.json").read_text(encoding="utf-8"))
    return [group["key"] for group in sorted(messages["groups"], key=lambda group: group["order"])]


def load_concepts(emojibase: Path) -> list[Concept]:
    """All base emoji of emojibase in its order, without skin tones, mirrored ones and ungrouped strays."""
    entries = json.loads((emojibase / "en" / "data.json").read_text(encoding="utf-8"))
    subgroups = json.loads((emojibase / "meta" / "groups.json").read_text(encoding="utf-8"))["subgroups"]
    groups = group_names(emojibase)
    concepts = []
    for entry in sorted(entries, key=lambda entry: (entry.get("order", 0), entry["hexcode"])):
        if MIRRORED in entry["label"]:
            continue
        if LETTERS.fullmatch(entry["label"]):
            group, subgroup = COMPONENT, LETTER_SUBGROUP
        elif "group" in entry:
            group, subgroup = groups[entry["group"]], subgroups[str(entry["subgroup"])]
        else:
            continue
        tags = tuple(entry.get("tags", ()))
        concepts.append(Concept(entry["hexcode"], entry["emoji"], entry["label"], tags, group, subgroup))
    return concepts
