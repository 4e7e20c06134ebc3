"""Writes a trained model in another format, with a card: `triptych export checkpoint=RUN format=onnx out=FOLDER`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.release.export import export_checkpoint  # imports torch: only now that the configuration is known

    return export_checkpoint(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("export", sys.argv[1:]))
