"""On the same features: class directions of open_clip's builder, and recall of CLIP_benchmark."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.measure.retrieval import retrieve
from triptych.models.zero_shot import class_embeddings
from triptych.prompts.words import ClassFile, templates_of


class _Texts(nn.Module):
    """Features of texts that an open_clip model would give: random, one row for each text, from its letters."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(256, 32, generator=generator)

    def tokens(self, texts: list[str]) -> Tensor:
        rows = torch.zeros(len(texts), 96, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            letters = torch.tensor(list(text.encode()[:96]))
            row[: len(letters)] = letters
        return rows

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        places = torch.arange(1, 97).cos()[:, None]
        features = (self.table[tokens] * places).sum(1)
        return F.normalize(features, dim=-1) if normalize else features


def test_class_directions_are_those_of_open_clip() -> None:
    builder = pytest.importorskip("open_clip.zero_shot_classifier")
    data = pytest.importorskip("open_clip.zero_shot_metadata")
    model = _Texts()
    names, templates = ClassFile("imagenet").names[:60], templates_of("imagenet")
    assert ClassFile("imagenet").names == list(data.IMAGENET_CLASSNAMES)
    assert [each.replace("{}", "x") for each in templates] == [each("x") for each in data.OPENAI_IMAGENET_TEMPLATES]
    theirs = builder.build_zero_shot_classifier(model, model.tokens, names, data.OPENAI_IMAGENET_TEMPLATES, 7)
    legacy = builder.build_zero_shot_classifier_legacy(model, model.tokens, names, data.OPENAI_IMAGENET_TEMPLATES)
    ours = class_embeddings(lambda texts: model.encode_text(model.tokens(texts)), names, templates)
    torch.testing.assert_close(ours.T, theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.T, legacy, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_that_of_clip_benchmark_where_nothing_ties(seed: int) -> None:
    """Five captions an image, as in COCO; either way, one of an image's captions is enough."""
    metrics = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    generator = torch.Generator().manual_seed(seed)
    images = F.normalize(torch.randn(60, 16, generator=generator), dim=-1)
    of = np.repeat(np.arange(60), 5)
    texts = F.normalize(images[of] + 0.6 * torch.randn(300, 16, generator=generator), dim=-1)

    class Model(nn.Module):
        def encode_image(self, batch: Tensor) -> Tensor:
            return images[batch]

        def encode_text(self, batch: Tensor) -> Tensor:
            return texts[batch]

    batches = [(torch.arange(start, start + 12), [list(range(5 * i, 5 * i + 5)) for i in range(start, start + 12)])
               for start in range(0, 60, 12)]  # fmt: skip
    theirs = metrics.evaluate(Model(), batches, torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    to_text, to_image = retrieve(images, texts, of, tile=64)
    for k in (1, 5, 10):
        assert to_text.recall(k).mean() == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-6)
        assert to_image.recall(k).mean() == pytest.approx(theirs[f"image_retrieval_recall@{k}"], abs=1e-6)
    assert 0.05 < to_image.recall(1).mean() < 0.95
