"""The peers of `peers.py`: each learns from records, is stored, loaded, and finds entities.

    python benchmarks/peers_worker.py train JOB.json
    python benchmarks/peers_worker.py serve KIND FOLDER

Run by the interpreter that has what the kind needs. JOB: {kind, settings, records (all to train on,
one file), corpus, lexicon, encoder, seconds, seed, folder}. `train` fills folder and writes into it
what training took; the steps end, and the learning rate falls to 0, when the process has used its
processor seconds. `serve` answers each line of stdin, a list of texts, with a line of JSON: the
entities, and the seconds taken.
"""

import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

Triples = list[tuple[int, int, str]]
Finder = Callable[[list[str]], list[Triples]]

# Of what is pretrained, and of what is not; warmed up over so many steps.
ENCODER_RATE, RATE, WARM_UP = 3e-4, 1e-3, 50
WINDOW = 120  # tokens: the encoder was pretrained on 128 subwords
BATCH = 8  # windows


def left(job: dict[str, Any]) -> float:
    """The share of the processor seconds that is left."""
    return max(0.0, 1 - process_time() / job["seconds"])


def rate(job: dict[str, Any], step: int) -> float:
    """The share of the learning rate: up, then down as the seconds go."""
    return min(1.0, step / WARM_UP) * left(job)


def read_records(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf8").splitlines()]


def examples(nlp: Any, job: dict[str, Any], length: int = WINDOW) -> list[Any]:
    """The records in windows that cut no entity."""
    from spacy_tcm.training.corpus import RecordCorpus

    return list(RecordCorpus(job["records"], max_length=length)(nlp))


def batches(windows: list[Any], job: dict[str, Any]) -> Iterator[tuple[int, list[Any]]]:
    """Shuffled, again and again, until the seconds are used; numbered from 1."""
    generator, step = random.Random(job["seed"]), 0
    while True:
        generator.shuffle(windows)
        for start in range(0, len(windows), BATCH):
            if not left(job):
                return
            step += 1
            yield step, windows[start : start + BATCH]


def ents(docs: Iterable[Any]) -> list[Triples]:
    return [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in docs]


# A dictionary: the longest known words, from left to right.


def surfaces(job: dict[str, Any]) -> dict[str, str]:
    """The entities of the training records, each with its most frequent label."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in read_records(job["records"]):
        for start, end, label in record["entities"]:
            counts[record["text"][start:end]][label] += 1
    return {surface: labels.most_common(1)[0][0] for surface, labels in counts.items()}


def terms(job: dict[str, Any]) -> dict[str, str]:
    """The terms of the lexicon; of several categories, the first by the order of the labels."""
    from spacy_tcm.lexicon import read_tables
    from spacy_tcm.tags import LABELS

    entries = sorted(read_tables(job["lexicon"]), key=lambda e: -LABELS.index(e.category))
    return {entry.term: entry.category for entry in entries}


def train_dictionary(job: dict[str, Any]) -> int:
    known = {"surfaces": surfaces, "terms": terms}[job["settings"]["words"]](job)
    words = json.dumps(known, ensure_ascii=False, indent=0)
    Path(job["folder"], "words.json").write_text(words, encoding="utf8")
    return 0


def load_dictionary(folder: Path) -> Finder:
    from ahocorasick_rs import AhoCorasick, MatchKind

    known = json.loads((folder / "words.json").read_text(encoding="utf8"))
    labels = list(known.values())
    automaton = AhoCorasick(list(known), matchkind=MatchKind.LeftmostLongest)
    return lambda texts: [
        [(start, end, labels[word]) for word, start, end in automaton.find_matches_as_indexes(text)]
        for text in texts
    ]


# spaCy's EntityRuler on the words of jieba, which knows the lexicon too.


def make_jieba(words: Iterable[str]) -> Any:
    import jieba

    segmenter = jieba.Tokenizer()
    segmenter.initialize()
    for word in words:
        segmenter.add_word(word)
    return segmenter


def train_ruler(job: dict[str, Any]) -> int:
    import spacy

    folder = Path(job["folder"])
    known = {**terms(job), **surfaces(job)}
    known = {word: label for word, label in known.items() if word.strip()}
    config = {"nlp": {"tokenizer": {"segmenter": "jieba"}}}
    nlp = spacy.blank("zh", config=config)
    nlp.tokenizer.jieba_seg = make_jieba(known)
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": word} for word, label in known.items()])
    nlp.to_disk(folder / "pipeline")
    (folder / "words.json").write_text(json.dumps(list(known), ensure_ascii=False), encoding="utf8")
    return 0


def load_ruler(folder: Path) -> Finder:
    import spacy

    segmenter = make_jieba(json.loads((folder / "words.json").read_text(encoding="utf8")))
    nlp = spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}})
    nlp.tokenizer.jieba_seg = segmenter  # before the patterns are read, which it cuts into words
    nlp.add_pipe("entity_ruler").from_disk(folder / "pipeline" / "entity_ruler")
    return lambda texts: ents(nlp.pipe(texts))


# spaCy's transition-based parser of entities, with its own CNN or our encoder.

PARSER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": True,
}
CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 96,
    "depth": 4,
    "embed_size": 2000,
    "window_size": 1,
    "maxout_pieces": 3,
    "subword_features": True,
}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "upstream": "transformer",
    "pooling": {"@layers": "reduce_mean.v1"},
}


def train_spacy(job: dict[str, Any]) -> int:
    import spacy
    from spacy.util import fix_random_seed
    from thinc.api import Adam

    fix_random_seed(job["seed"])
    nlp = spacy.blank(job["settings"]["language"])
    pretrained = job["settings"]["encoder"]
    if pretrained:
        model = {
            "@architectures": "spacy-transformers.TransformerModel.v3",
            "name": job["encoder"],
            "get_spans": {
                "@span_getters": "spacy-transformers.strided_spans.v1",
                "window": WINDOW,
                "stride": 96,
            },
        }
        nlp.add_pipe("transformer", config={"model": model})
        parser = {**PARSER, "use_upper": False, "tok2vec": LISTENER}
    else:
        parser = {**PARSER, "tok2vec": CNN}
    nlp.add_pipe("ner", config={"model": parser})
    windows = examples(nlp, job)
    optimizer = Adam(RATE, L2=0.01, grad_clip=1.0, use_averages=False)
    nlp.initialize(lambda: windows, sgd=optimizer)
    steps, top = 0, ENCODER_RATE if pretrained else RATE
    for steps, batch in batches(windows, job):
        optimizer.learn_rate = top * rate(job, steps)
        nlp.update(batch, sgd=optimizer, drop=0.1)
    nlp.to_disk(Path(job["folder"], "pipeline"))
    return steps


def load_spacy(folder: Path) -> Finder:
    import spacy

    nlp = spacy.load(folder / "pipeline")
    return lambda texts: ents(nlp.pipe(texts))


# What torch trains by itself: edsnlp and GLiNER.


def torch_steps(
    job: dict[str, Any],
    named: Iterable[tuple[str, Any]],
    encoder: str,
    windows: list[Any],
    loss: Any,
) -> int:
    """AdamW on loss(batch); encoder: part of the names of the pretrained parameters."""
    import torch

    groups: dict[float, list[Any]] = {ENCODER_RATE: [], RATE: []}
    for name, parameter in named:
        groups[ENCODER_RATE if encoder in name else RATE].append(parameter)
    parameters = [p for group in groups.values() for p in group]
    optimizer = torch.optim.AdamW(
        [{"params": group} for group in groups.values()], weight_decay=0.01
    )
    steps = 0
    for steps, batch in batches(windows, job):
        for group, top in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = top * rate(job, steps)
        optimizer.zero_grad()
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return steps


def train_edsnlp(job: dict[str, Any]) -> int:
    import edsnlp
    import edsnlp.pipes as eds
    import torch

    torch.manual_seed(job["seed"])
    nlp = edsnlp.blank("tcm")
    embedding = eds.transformer(model=job["encoder"], window=WINDOW + 2, stride=96)
    if job["settings"]["cnn"]:
        embedding = eds.text_cnn(embedding=embedding, kernel_sizes=[3])
    nlp.add_pipe(
        eds.ner_crf(embedding=embedding, mode="joint", window=20, target_span_getter="ents"),
        name="ner",
    )
    docs = [example.reference for example in examples(nlp, job)]
    nlp.post_init(docs)
    ner = nlp.get_pipe("ner")
    windows = list(nlp.preprocess_many(docs, supervision=True))

    def loss(batch: list[Any]) -> Any:
        with nlp.cache():
            return ner(nlp.collate(batch)["ner"])["loss"]

    nlp.train(True)
    steps = torch_steps(job, ner.named_parameters(), "transformer.", windows, loss)
    nlp.train(False)
    nlp.to_disk(Path(job["folder"], "pipeline"))
    return steps


def load_edsnlp(folder: Path) -> Finder:
    import edsnlp

    nlp = edsnlp.load(folder / "pipeline")
    return lambda texts: ents(nlp.pipe(texts))


def split_words(model: Any) -> Any:
    """GLiNER's own splitters know spaces or words, and these do not cut as the gold does."""
    import spacy

    tokenizer = spacy.blank("tcm").tokenizer
    model.data_processor.words_splitter = lambda text: [
        (token.text, token.idx, token.idx + len(token))
        for token in tokenizer(text)
        if not token.is_space
    ]
    return tokenizer


def train_gliner(job: dict[str, Any]) -> int:
    import spacy
    import torch
    from gliner import GLiNER

    from spacy_tcm.tags import LABELS, LABELS_ZH

    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    config = {
        "model_type": "gliner_uni_encoder_span",
        "model_name": job["encoder"],
        "hidden_size": 312,
        "max_width": 18,
        "max_types": len(LABELS),
        "max_len": 2 * WINDOW,
        "dropout": 0.1,
        "words_splitter_type": "whitespace",
    }
    model = GLiNER.from_config(config)
    windows = []
    for example in examples(spacy.blank("tcm"), job):
        doc = example.reference
        kept = [token for token in doc if not token.is_space]
        place = {token.i: at for at, token in enumerate(kept)}
        spans = [
            [place[e.start], place[e.end - 1], LABELS_ZH[e.label_]]
            for e in doc.ents
            if e.start in place and e.end - 1 in place
        ]
        windows.append({"tokenized_text": [t.text for t in kept], "ner": spans})
    windows = [window for window in windows if window["ner"]]
    split_words(model)
    collate = model._create_data_collator()

    def loss(batch: list[Any]) -> Any:
        return model(**collate(batch, entity_types=[list(LABELS_ZH.values())] * len(batch))).loss

    model.train()
    steps = torch_steps(job, model.named_parameters(), "bert_layer", windows, loss)
    model.save_pretrained(Path(job["folder"], "model"))
    names = json.dumps({name: label for label, name in LABELS_ZH.items()})
    Path(job["folder"], "labels.json").write_text(names, encoding="utf8")
    return steps


def load_gliner(folder: Path) -> Finder:
    from gliner import GLiNER

    from spacy_tcm.training.corpus import cut_record

    model = GLiNER.from_pretrained(str(folder / "model"), local_files_only=True)
    labels = json.loads((folder / "labels.json").read_text(encoding="utf8"))
    tokenizer = split_words(model)

    def find(texts: list[str]) -> list[Triples]:
        pieces = []  # number of the text, offset, piece
        for number, text in enumerate(texts):
            offset = 0
            record = {"id": "", "text": text, "entities": []}
            for piece in cut_record(record, tokenizer(text), WINDOW):
                pieces.append((number, offset, piece["text"]))
                offset += len(piece["text"])
        results = model.inference([piece for _, _, piece in pieces], list(labels), batch_size=8)
        found: list[Triples] = [[] for _ in texts]
        for (number, offset, _), result in zip(pieces, results, strict=True):
            found[number] += [
                (offset + e["start"], offset + e["end"], labels[e["label"]]) for e in result
            ]
        return found

    return find


# Ours.


def keep_entities(nlp: Any, folder: str) -> None:
    """Only what finds entities: without the rules, which the others do not have either."""
    for name in nlp.pipe_names:
        if name not in ("transformer", "tongue_encoder", "multimodal_ner"):
            nlp.remove_pipe(name)
    nlp.to_disk(Path(folder, "pipeline"))


def train_ours(job: dict[str, Any]) -> int:
    import tempfile

    from ner import Row, make_config
    from runs import train_last

    with tempfile.TemporaryDirectory() as out:
        corpus = Path(job["corpus"])
        row = Row(job["settings"]["config"])
        config = make_config(row, Path(job["records"]), corpus, None, job["seed"], Path(out))
        nlp = train_last(config, Path(out), job["settings"].get("steps"))
        keep_entities(nlp, job["folder"])
    return nlp.config["training"]["max_steps"]


def train_released(job: dict[str, Any]) -> int:
    import spacy

    keep_entities(spacy.load(job["settings"]["model"]), job["folder"])
    return 0


KINDS: dict[str, tuple[Callable[[dict[str, Any]], int], Callable[[Path], Finder]]] = {
    "dictionary": (train_dictionary, load_dictionary),
    "ruler": (train_ruler, load_ruler),
    "spacy": (train_spacy, load_spacy),
    "edsnlp": (train_edsnlp, load_edsnlp),
    "gliner": (train_gliner, load_gliner),
    "ours": (train_ours, load_spacy),
    "released": (train_released, load_spacy),
}
PACKAGES = "spacy thinc torch transformers spacy-transformers edsnlp gliner jieba openvino".split()


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def train(job: dict[str, Any]) -> None:
    steps = KINDS[job["kind"]][0](job)
    took = {"steps": steps, "cpu_seconds": process_time(), "versions": versions()}
    Path(job["folder"], "training.json").write_text(json.dumps(took), encoding="utf8")


def serve(kind: str, folder: Path) -> None:
    from spacy_tcm.meters import ProcessMeter

    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # what the tools print is no answer
    find = KINDS[kind][1](folder)
    for line in sys.stdin:
        texts = json.loads(line)
        wall, processor = perf_counter(), process_time()
        found = find(texts)
        seconds = {"wall": perf_counter() - wall, "processor": process_time() - processor}
        answer = {"entities": found, **seconds, "peak_bytes": ProcessMeter().peak()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(json.loads(Path(sys.argv[2]).read_text(encoding="utf8")))
    else:
        serve(sys.argv[2], Path(sys.argv[3]))
