"""``make test-base``: what the light installation promises, checked in one (no pytest there)."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HEAVY = ("torch", "torchvision", "transformers", "spacy_transformers", "scipy")
PHOTO = Path(__file__).parents[1] / "assets" / "examples" / "images" / "example-01.jpg"


def main() -> None:
    installed = [name for name in HEAVY if find_spec(name)]
    if installed:
        sys.exit(f"This is not the light installation: it holds {', '.join(installed)}.")

    import spacy

    import spacy_tcm

    text = "患者便血3天，色鲜红。"
    doc = spacy.blank("tcm")(text)
    if doc.text != text or [token.text for token in doc][:6] != list("患者便血3天"):
        sys.exit("The tokenizer does not work.")
    if "PIL" in sys.modules:
        sys.exit("Pillow is imported before a photo is read.")
    listing = subprocess.run(
        [sys.executable, "-m", "spacy_tcm", "--help"], capture_output=True, text=True
    )
    if listing.returncode or "structure" not in listing.stdout:
        sys.exit(f"The commands do not work:\n{listing.stderr}")
    nlp = spacy.load("tcm_multimodal")
    doc = nlp.make_doc("患者便血3天，舌淡红，苔薄黄腻，脉弦细数。")
    doc._.tongue_image = str(PHOTO)
    doc = nlp(doc)
    found = {ent.label_ for ent in doc.ents}
    if doc.text[0] != "患" or not {"TONGUE", "PULSE"} <= found or doc._.tongue["status"] != "ok":
        sys.exit(f"The released pipeline does not work: {found}, photo {doc._.tongue['status']}.")
    both = f"spacy_tcm {spacy_tcm.__version__} and tcm_multimodal {nlp.meta['version']}"
    sys.stdout.write(f"{both} work without torch.\n")


if __name__ == "__main__":
    main()
