"""What `deployed.py` measures in a process of its own, with any Python that has spacy_tcm.

    python deployed_worker.py FOLDER ROW [MODEL]

FOLDER: holds many.json and few.json, lists of {"text", "image"}. ROW: one of `ROWS`. Reads a JSON
object from each line of standard input, ``{"do": ..., ...}``, and answers with one in a line. As
many threads as OMP_NUM_THREADS says. Imports nothing that a deployed pipeline does not need.
"""

import json
import os
import resource
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

PIPELINE, LARGE, LARGE_16 = "pipeline", "BERT-Large shape, fp32", "BERT-Large shape, bf16"
ROWS = (PIPELINE, LARGE, LARGE_16)
# Devlin et al. 2019, section 3; the vocabulary is that of the Chinese BERT, the tags are ours.
SHAPE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
SHAPE |= {"intermediate_size": 4096, "vocab_size": 21_128}
TAGS, BATCH, MOST = 93, 8, 512
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
        start = perf_counter()
        with forkable_torch(n_process), self.nlp.select_pipes(disable=after):
            docs = list(self.nlp.pipe(self.docs(photos)[:limit], n_process=n_process))
        seconds = perf_counter() - start
        return {
            "seconds": seconds,
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


class Large:
    """BERT-Large's shape with random weights and a linear layer to the tags: padded batches of
    eight in the order of arrival, what is longer than 512 subwords in several rows."""

    def __init__(self, folder: Path, row: str):
        import torch
        from transformers import AutoTokenizer, BertConfig, BertModel

        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.half = row == LARGE_16
        self.net = BertModel(BertConfig(**SHAPE), add_pooling_layer=False).eval()
        self.emit = torch.nn.Linear(SHAPE["hidden_size"], TAGS)
        self.tokenizer = AutoTokenizer.from_pretrained(ENCODER)
        self.texts = [i["text"] for i in json.loads((folder / "few.json").read_text("utf8"))]

    def round(self, limit: int | None = None) -> dict[str, Any]:
        import torch

        texts = self.texts[:limit]
        start = perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            for at in range(0, len(texts), BATCH):
                rows = self.tokenizer(
                    texts[at : at + BATCH],
                    padding=True,
                    truncation=True,
                    max_length=MOST,
                    return_overflowing_tokens=True,
                    return_tensors="pt",
                )
                ids, mask = rows["input_ids"], rows["attention_mask"]
                for part in range(0, len(ids), BATCH):
                    found = self.net(ids[part : part + BATCH], mask[part : part + BATCH])
                    self.emit(found.last_hidden_state).argmax(-1)
        seconds = perf_counter() - start
        return {
            "seconds": seconds,
            "records": len(texts),
            "characters": sum(map(len, texts)),
        }


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
    worker = Pipeline(folder, sys.argv[3]) if row == PIPELINE else Large(folder, row)
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
