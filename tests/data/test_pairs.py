"""Pairs as batches: the same samples, pictures and captions for any workers, ranks and restarts."""

import multiprocessing
import os
import pickle
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from torch import Tensor

from triptych.data.captioned import PairLoader
from triptych.data.captions import ComposedCaption, WrittenCaption
from triptych.data.mixture import Mixture
from triptych.data.pairs import PairsData
from triptych.data.pairs_shards import ShardPairs
from triptych.data.torchvision_sets import ArraySource
from triptych.data.transforms import CentreCrop, RandomResizedCrop
from triptych.errors import UserError
from triptych.features.tokenizer import Tokenizer
from triptych.paths import resource

PairShards = Callable[..., Path]
Spell = Callable[[dict[str, Any]], list[str]]
KEYS = ("image", "text", "text_length", "id", "index")


def shards(folder: Path | str, **options: Any) -> partial[ShardPairs]:
    return partial(ShardPairs, str(folder), WrittenCaption(["captions"]), **options)


@pytest.fixture
def pairs_data(letters: Tokenizer) -> Callable[..., PairsData]:
    def make(train: Any, **changes: Any) -> PairsData:
        settings: dict[str, Any] = {
            "train": train, "validation": train, "augment": RandomResizedCrop(8), "evaluate": CentreCrop(8),
            "tokenizer": letters, "batch_size": 4, "image_size": 8, "mean": [0.5] * 3, "std": [0.25] * 3, "seed": 3,
        }  # fmt: skip
        return PairsData(**settings | changes)

    return make


def kept(loader: Any) -> list[dict[str, Tensor]]:
    return [{key: value.clone() for key, value in batch.items()} for batch in loader]


def assert_same(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> None:
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        assert sorted(left) == sorted(right) == sorted(KEYS)
        for key in KEYS:
            assert torch.equal(left[key], right[key]), key


def test_a_batch(pair_shards: PairShards, pairs_data: Callable[..., PairsData], spell: Spell) -> None:
    data = pairs_data(shards(pair_shards(5, 4), concept="name"))
    batches = kept(data.train_dataloader())
    assert [len(batch["id"]) for batch in batches] == [4, 4], "in whole batches"
    for batch in batches:
        assert batch["image"].shape == (len(batch["id"]), 3, 8, 8)
        assert batch["text"].shape == (len(batch["id"]), int(batch["text_length"].max())), "cut to the longest"
        assert {batch[key].dtype for key in KEYS[1:]} == {torch.int64}
        assert torch.equal(batch["id"], batch["index"] // 2)
        for index, text in zip(batch["index"].tolist(), spell(batch), strict=True):
            assert text in {f"{letter}{index}" for letter in "abcd"}
    (validation,) = data.val_dataloader()
    held = kept(validation)
    assert [text for batch in held for text in spell(batch)] == [f"a{index}" for index in range(9)]
    every = data.captions("validation")
    assert every.texts[:5] == ["a0", "b0", "c0", "d0", "a1"]
    assert every.samples.tolist() == [index for index in range(9) for _ in range(4)]


def run(data: PairsData, start: int, stop: int) -> list[dict[str, Tensor]]:
    data.start_step, data.stop_step = start, stop
    return kept(data.train_dataloader())


@pytest.fixture
def mixed(pair_shards: PairShards, tmp_path: Path) -> partial[Mixture]:
    """Two sources, 17 and 6 samples, that share concepts."""
    folder = pair_shards(6, 6, 5)
    second = tmp_path / "second"
    second.mkdir()
    (second / "train-0.tar").write_bytes((folder / "train-000001.tar").read_bytes())
    sources = {"a": shards(folder, concept="name"), "b": shards(second, concept="name")}
    return partial(Mixture, sources, {"a": 1.0, "b": 2.0})


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_and_restarts_change_nothing(
    workers: int, mixed: partial[Mixture], pairs_data: Callable[..., PairsData]
) -> None:
    settings: dict[str, Any] = {"samples": 14, "cache": workers == 1}
    whole = run(pairs_data(mixed, samples=14), 0, 12)
    for stop in (1, 5, 8):
        first = pairs_data(mixed, workers=workers, **settings)
        before = run(first, 0, stop)
        second = pairs_data(mixed, workers=workers, **settings)
        second.load_state_dict({"step": stop})
        assert second.state_dict() == {"step": stop}
        second.stop_step = 12
        assert_same(before + kept(second.train_dataloader()), whole)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("distinct", [False, True])
def test_ranks_together_make_the_global_batch(
    world_size: int, distinct: bool, mixed: partial[Mixture], pairs_data: Callable[..., PairsData]
) -> None:
    data = pairs_data(mixed, distinct=distinct, batch_size=3)
    source = data.train_source

    def loader(rank: int, ranks: int, workers: int) -> PairLoader:
        plain = data.train_dataloader()
        loader = PairLoader(source, data.order, plain.transform, plain.collation, plain.bad, workers, True, rank, ranks)
        loader.stop_step = 9
        return loader

    whole = kept(loader(0, 1, 0))
    ranks = [kept(loader(rank, world_size, rank)) for rank in range(world_size)]
    for step, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        for key in ("image", "text_length", "id", "index"):
            assert torch.equal(torch.cat([part[key] for part in parts]), step[key])
        start = 0
        for part in parts:
            rows = step["text"][start : start + len(part["text"])]
            start += len(rows)
            longest = int(part["text_length"].max()) if len(rows) else 1
            assert torch.equal(part["text"], rows[:, :longest])


def test_shares_of_a_mixture(mixed: partial[Mixture], pairs_data: Callable[..., PairsData]) -> None:
    data = pairs_data(mixed, samples=300, batch_size=30)
    pairs = data.train_source.pairs
    seen = torch.cat([batch["index"] for batch in kept(data.train_dataloader())])
    assert data.steps_per_epoch == 10
    assert (int((seen < 17).sum()), int((seen >= 17).sum())) == (100, 200)
    assert pairs.classes == sorted({f"n{index // 2}" for index in range(17)})
    assert pairs.ids[17:].tolist() == pairs.ids[6:12].tolist(), "one name, one concept, in both"
    assert pairs.name(20).startswith("b: ")


def test_every_visit_has_its_own_caption_and_all_are_drawn_alike(
    pair_shards: PairShards, pairs_data: Callable[..., PairsData], spell: Spell
) -> None:
    data = pairs_data(shards(pair_shards(8)), samples=400, batch_size=100)
    data.stop_step = 20
    batches = kept(data.train_dataloader())
    texts = Counter(text for batch in batches for text in spell(batch))
    assert sum(texts.values()) == 2000
    assert len(texts) == 32
    letters = Counter(letter for text, count in texts.items() for letter in text[0] * count)
    chi_squared = sum((letters[letter] - 500) ** 2 / 500 for letter in "abcd")
    assert chi_squared < 16.3, letters  # 0.1% of fair draws lie above, with 3 degrees of freedom
    per_text = sum((count - 62.5) ** 2 / 62.5 for count in texts.values())
    assert per_text < 61.1, texts  # likewise, with 31


def test_captions_do_not_change_how_pictures_are_augmented(
    pair_shards: PairShards, pairs_data: Callable[..., PairsData]
) -> None:
    folder = pair_shards(9)
    drawn = kept(pairs_data(shards(folder)).train_dataloader())
    fixed = kept(pairs_data(partial(ShardPairs, str(folder), WrittenCaption(["txt"]))).train_dataloader())
    for left, right in zip(drawn, fixed, strict=True):
        assert torch.equal(left["image"], right["image"])
        assert not torch.equal(left["text_length"], right["text_length"])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_with_bad_members_goes_to_the_end_and_names_each(
    workers: int, pair_shards: PairShards, pairs_data: Callable[..., PairsData], caplog: pytest.LogCaptureFixture
) -> None:
    folder = pair_shards(40, 60, broken=[3, 44, 58, 77, 99])
    data = pairs_data(shards(folder), workers=workers, max_bad_fraction=0.05, samples=250, batch_size=20)
    data.stop_step = 26
    batches = kept(data.train_dataloader())
    assert len(batches) == 26
    assert data.skipped == 5
    named = re.findall(r"skipped sample (\d+), \S+/train-\d+.tar/(\d+): not an image", caplog.text)
    assert sorted((int(number), int(key)) for number, key in named) == [(n, n) for n in (3, 44, 58, 77, 99)]
    seen = set(torch.cat([batch["index"] for batch in batches]).tolist())
    assert seen == set(range(100)) - {3, 44, 58, 77, 99}
    strict = pairs_data(shards(folder), workers=workers, max_bad_fraction=0.04, samples=250, batch_size=20)
    strict.stop_step = 26
    with pytest.raises(UserError, match=r"5 of \d+ samples seen .* above data.max_bad_fraction=0.04"):
        kept(strict.train_dataloader())


@pytest.fixture
def remote(pair_shards: PairShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    for path in pair_shards(5, 3, 4).glob("*.tar"):
        system.pipe(f"/few/{path.name}", path.read_bytes())
    yield "memory://few"
    system.rm("/few", recursive=True)


@pytest.mark.parametrize("keep_gb", [20, 0])
def test_few_shards_and_many_workers_do_not_hang(
    keep_gb: int, remote: str, pairs_data: Callable[..., PairsData]
) -> None:
    """Seven workers and three shards, read one at a time: the same batches as in one process."""
    train = shards(remote, shards_at_once=1, keep_gb=keep_gb)
    expected = run(pairs_data(train), 0, 9)
    assert_same(run(pairs_data(train, workers=7), 0, 9), expected)
    places = [index for batch in expected[:3] for index in batch["index"].tolist()]
    changes = np.count_nonzero(np.diff(np.searchsorted([5, 8], places, side="right")))
    assert changes == 2, "an epoch reads one shard after the other"


def test_distinct_concepts(pair_shards: PairShards, pairs_data: Callable[..., PairsData]) -> None:
    folder = pair_shards(9, 8)
    data = pairs_data(shards(folder, concept="name"), distinct=True)
    data.stop_step = 20
    for batch in kept(data.train_dataloader()):
        assert len(set(batch["id"].tolist())) == len(batch["id"])
    with pytest.raises(UserError, match=r"no concepts are known: .*data.train.concept=NAME"):
        pairs_data(shards(folder), distinct=True).setup("fit")
    with pytest.raises(UserError, match="the concept 'n0' has 2 samples in an epoch of 1 batches"):
        pairs_data(shards(folder, concept="name"), distinct=True, batch_size=17).setup("fit")


def test_what_has_no_captions_is_told(pairs_data: Callable[..., PairsData]) -> None:
    labelled = partial(ArraySource, torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [0, 1], ["a", "b"])
    with pytest.raises(UserError, match="ArraySource has no captions"):
        pairs_data(labelled).setup("fit")


def test_the_tokenizer_is_given_before_setup(
    pair_shards: PairShards, pairs_data: Callable[..., PairsData], letters: Tokenizer
) -> None:
    data = pairs_data(shards(pair_shards(2)), tokenizer=None)
    assert list(data.corpus()) == ["a0", "b0", "c0", "d0", "a1", "b1", "c1", "d1"]
    with pytest.raises(UserError, match="the model has no tokenizer; choose one, such as model/tokenizer=clip"):
        data.setup("fit")
    data.tokenizer = letters
    data.setup("fit")


def test_a_validation_set_may_have_labels(pair_shards: PairShards, pairs_data: Callable[..., PairsData]) -> None:
    train = shards(pair_shards(2))
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    labelled = partial(ArraySource, images, [1, 0, 1], ["a", "b"])
    data = pairs_data(train, validation={"pairs": train, "labelled": labelled})
    data.setup("fit")
    (batch,) = kept(data.val_dataloader()[1])
    assert batch["label"].tolist() == [1, 0, 1]
    assert data.captions("pairs").texts
    with pytest.raises(KeyError, match="labelled has labels"):
        data.captions("labelled")

    class SeveralLabels(ArraySource):
        multilabel = True

    several = partial(SeveralLabels, images, [1, 0, 1], ["a", "b"])
    with pytest.raises(UserError, match="'several' have several labels a sample"):
        pairs_data(train, validation={"several": several}).setup("fit")


@pytest.mark.parametrize(
    ("sources", "weights", "message"),
    [
        (["a"], {"a": 1.0, "c": 2.0}, "weights names a, c, and the sources are a"),
        ([], None, "sources is empty"),
        (["a"], {"a": 0.0}, "weight 0; it must be above 0"),
    ],
)
def test_wrong_mixtures_are_told(
    sources: list[str], weights: Any, message: str, pair_shards: PairShards, pairs_data: Callable[..., PairsData]
) -> None:
    folder = pair_shards(2)
    with pytest.raises(UserError, match=message):
        pairs_data(partial(Mixture, {name: shards(folder) for name in sources}, weights)).setup("fit")


def test_a_mixture_gives_its_folder_to_sources_without_one(pair_shards: PairShards, tmp_path: Path) -> None:
    folder = pair_shards(3)
    caption = WrittenCaption(["txt"])
    sources = {
        "own": partial(ShardPairs, root=str(folder), caption=caption),
        "other": partial(ShardPairs, caption=caption, root=None),  # pyright: ignore[reportArgumentType],
    }
    mixture = Mixture(sources, root=str(folder))
    assert (len(mixture), mixture.captions(4)) == (6, ["text 1"])
    with pytest.raises(UserError, match=r"data\.root is not set"):
        Mixture(sources)


def stream(make: Callable[[], PairsData], start: int, stop: int, kill: int, out: Path) -> None:
    """Writes down what each step was given, and is killed with step `kill`."""
    data = make()
    data.start_step, data.stop_step = start, stop
    seen = []
    for step, batch in enumerate(data.train_dataloader(), start):
        seen.append((step, batch["index"].tolist(), batch["text"].tolist(), int(batch["image"].sum())))
        out.write_bytes(pickle.dumps(seen))
        if step == kill:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_stream_goes_on_at_the_exact_sample(
    remote: str, pairs_data: Callable[..., PairsData], tmp_path: Path
) -> None:
    def make() -> PairsData:
        return pairs_data(shards(remote, shards_at_once=2), workers=2)

    def streamed(start: int, stop: int, kill: int = -1) -> list[Any]:
        out = tmp_path / f"{start}-{stop}-{kill}"
        process = multiprocessing.get_context("fork").Process(target=stream, args=(make, start, stop, kill, out))
        process.start()
        process.join(timeout=120)
        assert process.exitcode == (-signal.SIGKILL if kill >= 0 else 0)
        return pickle.loads(out.read_bytes())

    whole = streamed(0, 11)
    assert [step for step, *_ in whole] == list(range(11))
    assert streamed(0, 11, kill=4) + streamed(5, 11) == whole


def test_shipped_emoji(letters: Tokenizer, pairs_data: Callable[..., PairsData]) -> None:
    folder = str(resource("data/emoji"))
    caption = ComposedCaption(["{caption}", "a drawing of {a caption}, {tags}"])
    part = partial(ShardPairs, folder, caption, concept="caption")
    data = pairs_data(
        partial(part, shards="train-000000.tar.gz"),
        validation={"held_out_concepts": partial(part, shards="held_out_concepts-*.tar.gz")},
        batch_size=128,
        distinct=True,
    )
    held = data.validation_sources["held_out_concepts"]
    assert len(held.classes) == 150
    assert not set(held.classes) & set(data.classes), "concepts that training never sees"
    batch = next(iter(data.train_dataloader()))
    assert len(set(batch["id"].tolist())) == 128
