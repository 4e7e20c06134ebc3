"""How exported weights are used, for their card: a piece of Python for each format."""

from triptych.features.audio_preprocess import AudioPreprocess
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive

_CLASSIFIER = {
    "onnx": """
        import json
        from pathlib import Path

        import onnxruntime

        session = onnxruntime.InferenceSession("model.onnx")
        (logits,) = session.run(["logits"], {"image": images})  # what images are: see "input" in config.json
        classes = json.loads(Path("config.json").read_text(encoding="utf-8"))["classes"]
        """,
    "timm": """
        import timm

        model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        logits = model(transform(picture)[None])
        """,
    "huggingface": """
        import transformers

        model = transformers.AutoModelForImageClassification.from_pretrained("FOLDER")
        processor = transformers.AutoImageProcessor.from_pretrained("FOLDER")
        logits = model(**processor(picture, return_tensors="pt")).logits
        """,
    "triptych": """
        import triptych

        model = triptych.load("FOLDER")
        logits = model(model.preprocess(picture)[None])  # a PIL image or a uint8 tensor
        classes = model.config["classes"]
        """,
}
_TOWERS = {
    "open_clip": """
        import open_clip

        model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
        tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
        image = model.encode_image(preprocess(picture)[None], normalize=True)
        likeness = image @ model.encode_text(tokenizer(["a cat", "a dog"]), normalize=True).T
        """,
    "huggingface": """
        import transformers

        model = transformers.AutoModel.from_pretrained("FOLDER")
        processor = transformers.AutoProcessor.from_pretrained("FOLDER")
        inputs = processor(images=picture, text=["a cat", "a dog"], padding="max_length", return_tensors="pt")
        logits = model(**inputs).logits_per_image
        """,
    "triptych": """
        import triptych

        model = triptych.load("FOLDER")
        image = model.embed("image", model.preprocess(picture)[None])  # a PIL image or a uint8 tensor
        likeness = image @ model.embed("text", *model.tokenizer(["a cat", "a dog"])).T
        """,
}

_HEARING_CLASSIFIER = {
    "onnx": """
        import json
        from pathlib import Path

        import onnxruntime

        session = onnxruntime.InferenceSession("model.onnx")
        (logits,) = session.run(["logits"], {"mel": spectrograms})  # what they are: see "input" in config.json
        classes = json.loads(Path("config.json").read_text(encoding="utf-8"))["classes"]
        """,
    "huggingface": """
        import transformers

        model = transformers.AutoModelForAudioClassification.from_pretrained("FOLDER")
        extractor = transformers.AutoFeatureExtractor.from_pretrained("FOLDER")
        logits = model(**extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")).logits
        """,
    "triptych": """
        import triptych

        model = triptych.load("FOLDER")
        logits = model(model.preprocess(waveform, sample_rate))  # a tensor (samples,), and Hz
        classes = model.config["classes"]
        """,
}
_HEARING_TOWERS = {
    "triptych": """
        import triptych

        model = triptych.load("FOLDER")
        sound = model.embed("audio", model.preprocess(waveform, sample_rate))  # a tensor (samples,), and Hz
        likeness = sound @ model.embed("text", *model.tokenizer(["a piano note", "a flute"])).T
        """,
}


def hears(model: Classifier | Contrastive) -> bool:
    """Whether a model is one of sounds."""
    return isinstance(model.preprocess, AudioPreprocess)


def use_of(model: Classifier | Contrastive, format: str) -> str:
    """The piece for a model in a format, in Markdown."""
    pieces = (_HEARING_CLASSIFIER, _HEARING_TOWERS) if hears(model) else (_CLASSIFIER, _TOWERS)
    text = pieces[isinstance(model, Contrastive)][format]
    lines = text.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "```python\n" + "\n".join(line[indent:] for line in lines).strip() + "\n```"
