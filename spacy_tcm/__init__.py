"""Traditional Chinese medicine notes and tongue photos as structured data in a spaCy ``Doc``."""

import sys
from importlib.metadata import version

__version__ = version("spacy-tcm")

# OpenVINO and NNCF report each import and use to Google Analytics through this package, and write
# an id into the home folder, unless it cannot be imported. Nothing here may reach for the network.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
