"""The report needs nothing but itself, and shows names as they are, never as markup."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

from triptych.analysis.recordings import Recording
from triptych.analysis.report import Table, build_report, confused_table
from triptych.analysis.results import Confused

HOSTILE = "<script>alert('x')</script>\" onload=\"x&<img src=http://example.org/a.png>"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_is_self_contained_and_escapes_everything(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG picture")
    page = build_report(
        HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], [(HOSTILE, tmp_path / "a.png")],
        [confused_table([Confused(HOSTILE, HOSTILE, 1200, 0.5)], HOSTILE), Table("empty", ["a"], [])], HOSTILE, HOSTILE,
        {HOSTILE: {"deep_key": HOSTILE, "count": 1234, "none": None}}, recordings=[Recording(HOSTILE, b"fLaC sound")],
    )  # fmt: skip
    parser = Tags()
    parser.feed(page)
    names = [tag for tag, _ in parser.tags]
    assert not {"script", "link", "iframe", "object", "base"} & set(names)
    assert names.count("img") == 1
    for _, attributes in parser.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name) is None or str(attributes[name]).startswith(
                ("data:image/png;base64,", "data:audio/flac;base64,")
            )
    assert not re.search(r"url\(|@import", page)
    picture = next(attributes["src"] for tag, attributes in parser.tags if tag == "img")
    assert base64.b64decode(str(picture).partition(",")[2]) == b"\x89PNG picture"
    sound = next(attributes["src"] for tag, attributes in parser.tags if tag == "audio")
    assert base64.b64decode(str(sound).partition(",")[2]) == b"fLaC sound"
    assert parser.text.count(HOSTILE) >= 11
    assert "empty" not in parser.text, "a table without rows has no heading"
    assert "deep key" in parser.text
    assert "1,234" in parser.text
    assert "prefers-color-scheme: dark" in page
