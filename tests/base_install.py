"""``make test-base``: what the light installation promises, checked in one (no pytest there)."""

import subprocess
import sys
from importlib.util import find_spec

HEAVY = ("torch", "torchvision", "transformers", "spacy_transformers")


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
    message = f"spacy_tcm {spacy_tcm.__version__}: the light installation works without torch.\n"
    sys.stdout.write(message)


if __name__ == "__main__":
    main()
