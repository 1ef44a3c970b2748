"""What `deployed.py` measures in a process of its own, with any Python that has spacy_tcm.

    python deployed_worker.py FOLDER ROW [MODEL]

FOLDER: holds many.json and few.json, lists of {"text", "image"}. ROW: `PIPELINE` or one of `NETS`.
Reads a JSON object from each line of standard input, ``{"do": ..., ...}``, and answers with one in
a line. As many threads as OMP_NUM_THREADS says. Imports nothing that a deployed pipeline does not
need.
"""

import json
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

PIPELINE, LARGE, LARGE_16 = "pipeline", "BERT-Large shape, fp32", "BERT-Large shape, bf16"
# Shapes of text encoders: hidden, layers, heads, feed-forward; Devlin et al. 2019, section 3, and
# Jiao et al. 2020, section 4. None: MobileBERT's own (Sun et al. 2020).
BERT_LARGE, TINYBERT, MOBILEBERT = (1024, 24, 16, 4096), (312, 4, 12, 1200), None
# Networks alone: text encoder, and torchvision's name of the net for photos of 224 pixels.
NETS: dict[str, tuple[tuple[int, int, int, int] | None, str | None]] = {
    LARGE: (BERT_LARGE, None),
    LARGE_16: (BERT_LARGE, None),
    "TinyBERT + ResNet-50": (TINYBERT, "resnet50"),
    "TinyBERT + EfficientNet-B0": (TINYBERT, "efficientnet_b0"),
    "MobileBERT + MobileNet-V2": (MOBILEBERT, "mobilenet_v2"),
}
# The vocabulary is that of the Chinese BERT, the tags are ours.
VOCABULARY, TAGS, BATCH, MOST, PIXELS = 21_128, 93, 8, 512, 224
PADDED = 1.1  # how much longer than the shortest of a batch a text may be
ENCODER = Path(__file__).parents[1] / "assets" / "encoder"


class Pipeline:
    def __init__(self, folder: Path, model: str):
        import spacy

        self.nlp = spacy.load(model)
        self.folder = folder

    def docs(self, photos: bool) -> list[Any]:
        items = json.loads((self.folder / "many.json").read_text(encoding="utf8"))
        docs = []
        for item in items:
            doc = self.nlp.make_doc(item["text"])
            doc._.tongue_image = item["image"] if photos else None
            docs.append(doc)
        return docs

    def round(
        self, photos: bool, n_process: int = 1, limit: int | None = None, rules: bool = True
    ) -> dict[str, Any]:
        """All records through ``nlp.pipe``, tokenizing included. rules: with what comes after the
        entities, too."""
        from spacy_tcm.batching import forkable_torch

        after = [] if rules else [name for name in self.nlp.pipe_names if name.startswith("tcm_")]
        start, cpu = perf_counter(), process_time()
        with forkable_torch(n_process), self.nlp.select_pipes(disable=after):
            docs = list(self.nlp.pipe(self.docs(photos)[:limit], n_process=n_process))
        return {
            "seconds": perf_counter() - start,
            "cpu_seconds": process_time() - cpu,
            "records": len(docs),
            "characters": sum(len(doc.text) for doc in docs),
            "entities": sum(len(doc.ents) for doc in docs),
            "photos": dict(Counter(doc._.tongue["status"] for doc in docs)),
        }

    def latency(self, photos: bool) -> dict[str, Any]:
        """Of each record alone."""
        found = []
        for doc in self.docs(photos):
            start = perf_counter()
            self.nlp(doc)
            found.append(perf_counter() - start)
        return {"seconds": found}

    def operations(self, photos: bool) -> dict[str, Any]:
        import roofline

        docs = self.docs(photos)
        together = roofline.count(self.nlp, lambda: list(self.nlp.pipe(docs)))
        docs = self.docs(photos)
        alone = roofline.count(self.nlp, lambda: [self.nlp(doc) for doc in docs])
        return {"together": together, "alone": alone}

    def peaks(self) -> dict[str, Any]:
        import roofline

        return roofline.gemm_peaks()


class Nets:
    """Random weights, text encoder and net for photos, and a linear layer to the tags: batches of
    at most eight texts of about one length, what is longer than 512 subwords in several rows. With
    photos it reads all records, without as few as BERT-Large can in the time."""

    def __init__(self, folder: Path, row: str):
        import torch
        import transformers
        from transformers import BertConfig, MobileBertConfig

        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.half = row == LARGE_16
        shape, photo_net = NETS[row]
        if shape is None:
            config: Any = MobileBertConfig(vocab_size=VOCABULARY)
            self.net: Any = transformers.MobileBertModel(config, add_pooling_layer=False).eval()
        else:
            names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
            config = BertConfig(vocab_size=VOCABULARY, **dict(zip(names, shape, strict=True)))
            self.net = transformers.BertModel(config, add_pooling_layer=False).eval()
        self.emit = torch.nn.Linear(config.hidden_size, TAGS)
        self.photo_net = self.project = None
        if photo_net:
            import torchvision

            self.photo_net = getattr(torchvision.models, photo_net)(weights=None).eval()
            self.project = torch.nn.Linear(1000, config.hidden_size)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(ENCODER)
        name = "many.json" if photo_net else "few.json"
        self.items = json.loads((folder / name).read_text("utf8"))

    def round(self, limit: int | None = None) -> dict[str, Any]:
        import torch

        items = self.items[:limit]
        start, cpu = perf_counter(), process_time()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            for batch in alike(items):
                self._batch(batch)
        return {
            "seconds": perf_counter() - start,
            "cpu_seconds": process_time() - cpu,
            "records": len(items),
            "characters": sum(len(item["text"]) for item in items),
        }

    def _batch(self, items: list[dict[str, Any]]) -> None:
        rows = self.tokenizer(
            [item["text"] for item in items],
            padding=True,
            truncation=True,
            max_length=MOST,
            return_overflowing_tokens=True,
            return_tensors="pt",
        )
        seen = None
        if self.photo_net is not None:
            seen = self.project(self.photo_net(_pixels([item["image"] for item in items])))
            seen = seen[rows["overflow_to_sample_mapping"], None]
        ids, mask = rows["input_ids"], rows["attention_mask"]
        for part in range(0, len(ids), BATCH):
            found = self.net(ids[part : part + BATCH], mask[part : part + BATCH]).last_hidden_state
            if seen is not None:
                found = found + seen[part : part + BATCH]
            self.emit(found).argmax(-1)


def alike(items: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Batches of texts of about one length, so that hardly any of the work is padding."""
    batch: list[dict[str, Any]] = []
    for item in sorted(items, key=lambda item: len(item["text"])):
        if batch and (len(batch) == BATCH or len(item["text"]) > PADDED * len(batch[0]["text"])):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _pixels(paths: list[str]) -> Any:
    """(photos, 3, side, side), 0..1."""
    import numpy
    import torch
    from PIL import Image

    arrays = []
    for path in paths:
        with Image.open(path) as photo:
            arrays.append(numpy.asarray(photo.convert("RGB").resize((PIXELS, PIXELS))))
    return torch.from_numpy(numpy.stack(arrays)).permute(0, 3, 1, 2).float() / 255


def peak_bytes() -> int:
    """Of this process. Linux' ru_maxrss would begin with what the parent had at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    folder, row = Path(sys.argv[1]), sys.argv[2]
    # What libraries print must not get into the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Pipeline(folder, sys.argv[3]) if row == PIPELINE else Nets(folder, row)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        settings = json.loads(line)
        todo = settings.pop("do")
        if todo == "peak":
            answer: dict[str, Any] = {"peak_bytes": peak_bytes(), "torch": "torch" in sys.modules}
        else:
            answer = getattr(worker, todo)(**settings)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
