"""Icon sets in Iconify JSON: names, other names, code points, and each icon as an SVG document."""

import json
from dataclasses import dataclass
from pathlib import Path

from .concepts import code_key

PRIVATE_USE = range(0xE000, 0xF900)  # OpenMoji's own extras live there; they are no emoji


@dataclass(frozen=True)
class Icon:
    """The body of an SVG document and the size of its view box, in its own units."""

    body: str
    width: float
    height: float

    def svg(self) -> str:
        """The whole SVG document."""
        namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        return f"<svg {namespaces} {size}>{self.body}</svg>"


@dataclass(frozen=True)
class IconSet:
    """One set: its drawings by name, other names (alias to name), and names by code points where the set has them."""

    icons: dict[str, Icon]
    aliases: dict[str, str]
    characters: dict[str, str]


def load_icon_set(folder: Path) -> IconSet:
    """Read an unpacked Iconify package. Aliases that mirror or turn their parent are left out: other drawings."""
    data = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    width, height = data.get("width", 16), data.get("height", 16)
    icons = {
        name: Icon(icon["body"], icon.get("width", width), icon.get("height", height))
        for name, icon in data["icons"].items()
    }
    aliases = {name: entry["parent"] for name, entry in data.get("aliases", {}).items() if set(entry) == {"parent"}}
    characters = {}
    listed = folder / "chars.json"
    if listed.exists():
        for code, name in json.loads(listed.read_text(encoding="utf-8")).items():
            if name in icons and int(code.split("-")[0], 16) not in PRIVATE_USE:
                characters[code_key(code)] = name
    return IconSet(icons, aliases, characters)
