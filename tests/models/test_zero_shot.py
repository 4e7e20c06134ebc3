"""Classes told by words: their directions, and what a model says of them."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.errors import UserError
from triptych.models.zero_shot import ZeroShotClassifier, class_embeddings, embed_texts, similarity_logits

from .test_contrastive import make


def embed(texts: list[str]) -> Tensor:
    """Another direction, and another length, for each text."""
    rows = [torch.Generator().manual_seed(sum(map(ord, text)) * 31 + len(text)) for text in texts]
    return torch.stack(
        [torch.randn(6, generator=each) * (1 + len(text)) for each, text in zip(rows, texts, strict=True)]
    )


def test_each_template_counts_as_much_as_the_others() -> None:
    names, templates = ["cat", "red apple"], ["{}", "a photo of a {}.", "{} and {}"]
    found = class_embeddings(embed, names, templates)
    for row, name in zip(found, names, strict=True):
        parts = F.normalize(embed([name, f"a photo of a {name}.", f"{name} and {name}"]), dim=1)
        torch.testing.assert_close(row, F.normalize(parts.mean(0), dim=0))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    # A class is not changed by those beside it.
    torch.testing.assert_close(class_embeddings(embed, names[1:], templates)[0], found[1])


def test_braces_in_a_name_are_letters() -> None:
    asked = []

    def listen(texts: list[str]) -> Tensor:
        asked.extend(texts)
        return torch.ones(len(texts), 2)

    class_embeddings(listen, ["{0} {x}"], ["a {}"])
    assert asked == ["a {0} {x}"]


@pytest.mark.parametrize("bias", [None, -3.0])
def test_logits_are_scaled_products_and_a_bias(bias: float | None) -> None:
    model = make(logit_bias_init=bias).eval()
    classes = F.normalize(torch.randn(5, 12), dim=1)
    classifier = ZeroShotClassifier(model, classes)
    images = torch.randn(3, 3, 8, 8)
    expected = model.embed("image", images) @ classes.T * model.logit_scale.exp() + (bias or 0)
    torch.testing.assert_close(classifier(images), expected)
    assert (classifier.num_classes, classifier.preprocess) == (5, model.preprocess)


def test_logits_keep_their_digits_under_autocast() -> None:
    images, classes = (F.normalize(torch.randn(8, 64), dim=1) for _ in range(2))
    exact = 100 * images.double() @ classes.double().T
    with torch.autocast("cpu", torch.bfloat16):
        logits = similarity_logits(images, classes, torch.tensor(100.0).log())
    assert logits.dtype == torch.float32
    assert (logits - exact).abs().max() < 1e-3


def test_a_model_without_a_tokenizer_says_so() -> None:
    with pytest.raises(UserError, match="no tokenizer"):
        embed_texts(make(), ["a"], torch.device("cpu"))
