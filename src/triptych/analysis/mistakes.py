"""The mistakes worth a look: where a model was surest and wrong, it or the label is at fault."""

from triptych.analysis.results import ClassificationResults, Prediction


def worst_mistakes(results: ClassificationResults, most: int) -> list[Prediction]:
    """The wrong predictions of highest loss, worst first; of equal ones the first sample first.

    A sample with a wrong label that a good model sees through has a higher loss than most samples that are hard, so
    label mistakes gather at the top (`plot_top_losses` of fastai; Northcutt et al., 2021).
    """
    wrong = (each for each in results.predictions() if not each.right)
    return sorted(wrong, key=lambda each: (-each.loss, each.index))[:most]
