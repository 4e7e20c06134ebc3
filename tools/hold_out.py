"""A copy of a data set whose training part is split again, to choose settings on without looking at the real test.

    uv run python tools/hold_out.py emoji data/emoji /tmp/emoji --style emojione
    uv run python tools/hold_out.py fashion_mnist /usr/share/datasets/fashion-mnist /tmp/fashion_mnist
    uv run triptych train data.root=/tmp/emoji

`emoji`: one style of the training drawings becomes the held-out style, and every twelfth concept, in all other styles,
the held-out concepts. `fashion_mnist`: the last 10,000 training pictures become the test. What was the test is left
out. The copy is laid out as the original, so that a run takes it by `data.root`.
"""

import argparse
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CONCEPTS = 12
HELD_OUT_PICTURES = 10_000
HEADERS = {"images-idx3": 16, "labels-idx1": 8}
"""Bytes before the data of an IDX file: a magic number, the count, and for images height and width."""


def split_emoji(source: Path, out: Path, style: str) -> dict[str, int]:
    """Writes one shard for each split; how many drawings each has."""
    members = list(_members(sorted(source.glob("train-*.tar.gz"))))
    facts = {name.removesuffix(".json"): json.loads(data) for name, data in members if name.endswith(".json")}
    styles = {fact["style"] for fact in facts.values()}
    if style not in styles:
        raise SystemExit(f"no training drawing has the style {style!r}; there are {', '.join(sorted(styles))}")
    parts: dict[str, list[str]] = {"train": [], "held_out_style": [], "held_out_concepts": []}
    for key, fact in facts.items():
        concept_out = zlib.crc32(fact["hexcode"].encode()) % CONCEPTS == 0
        parts["held_out_style" if fact["style"] == style else "held_out_concepts" if concept_out else "train"].append(
            key
        )
    for part, keys in parts.items():
        chosen = set(keys)
        with tarfile.open(out / f"{part}-000000.tar.gz", "w:gz") as archive:
            for name, data in members:
                if name.rpartition(".")[0] in chosen:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    (out / "info.json").write_bytes((source / "info.json").read_bytes())
    return {part: len(keys) for part, keys in parts.items()}


def split_fashion_mnist(source: Path, out: Path, held_out: int = HELD_OUT_PICTURES) -> dict[str, int]:
    """Writes the four IDX files; how many pictures each part has."""
    counts: dict[str, int] = {}
    for kind, header in HEADERS.items():
        data = gzip.decompress((source / f"train-{kind}-ubyte.gz").read_bytes())
        count = int.from_bytes(data[4:8], "big")
        items = np.frombuffer(data, np.uint8, offset=header).reshape(count, -1)
        for part, rows in (("train", items[:-held_out]), ("t10k", items[-held_out:])):
            content = data[:4] + len(rows).to_bytes(4, "big") + data[8:header] + rows.tobytes()
            counts[part] = len(rows)
            (out / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    return counts


def _members(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, file.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", choices=["emoji", "fashion_mnist"])
    parser.add_argument("source", type=Path, help="folder of the data")
    parser.add_argument("out", type=Path, help="new folder for the copy")
    parser.add_argument("--style", default="emojione", help="of emoji: the training style to hold out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    if arguments.data == "emoji":
        print(split_emoji(arguments.source, arguments.out, arguments.style))
    else:
        print(split_fashion_mnist(arguments.source, arguments.out))


if __name__ == "__main__":
    main()
