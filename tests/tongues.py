"""Configs of small tongue encoders, and what they tell."""

from pathlib import Path

ASSETS = Path(__file__).parents[1] / "assets" / "tongue"
RESNET = {
    "@architectures": "spacy_tcm.TongueResNet.v1",
    "image_size": 32,
    "stem": 4,
    "inner": [4, 8],
    "depths": [1, 1],
    "width": 8,
}
EFFICIENTNET = {
    "@architectures": "spacy_tcm.TongueEfficientNet.v1",
    "image_size": 64,
    "width": 8,
    "weights": str(ASSETS / "trunk.safetensors"),
    "segmenter": {
        "@architectures": "spacy_tcm.TongueSegmenter.v1",
        "weights": str(ASSETS / "segmenter.safetensors"),
        "image_size": 96,
    },
}
ATTRIBUTES = {"body_color": ["light", "dark"], "fissure": ["none", "light", "severe"]}
