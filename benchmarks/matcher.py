"""How fast the lexicon matcher and the tokenizer are, against jieba and spaCy's PhraseMatcher.

    python benchmarks/matcher.py OUT.json

All know the same terms and read the same text, in interleaved rounds; the figures are medians of
processor time in one thread, so that other work on the machine disturbs them little. Also: which
share of the terms planted in a text each finds, and whether the matcher's time grows with the
length of the text. jieba must be installed (extra ``dev``).
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import process_time

import jieba
import spacy
from spacy.matcher import PhraseMatcher

from spacy_tcm.lexicon import Lexicon
from spacy_tcm.tokenizer import LexiconTokenizer

ROOT = Path(__file__).parents[1]
LINKS = "，。；、见伴及，，。患者诉可予"


def read_records(folder: Path) -> list[str]:
    texts = []
    for path in sorted(folder.glob("*.jsonl")):
        with open(path, encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in file]
    return texts


def plant(terms: list[str], rng: random.Random, count: int) -> tuple[str, list[tuple[int, int]]]:
    """A text of terms with other characters between, and where they stand."""
    parts: list[str] = []
    places = []
    length = 0
    for term in rng.choices(terms, k=count):
        link = rng.choice(LINKS)
        places.append((length, length + len(term)))
        parts += [term, link]
        length += len(term) + len(link)
    return "".join(parts), places


def make_jieba(terms: list[str]) -> jieba.Tokenizer:
    """jieba with its own dictionary and our terms loaded on top, as its users do."""
    segmenter = jieba.Tokenizer()
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.writelines(f"{term} 100000 n\n" for term in terms)
        file.flush()
        segmenter.load_userdict(file.name)
    segmenter.initialize()
    return segmenter


def seconds(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start


def main(out: Path, rounds: int, characters: int, seed: int) -> None:
    rng = random.Random(seed)
    started = process_time()
    lexicon = Lexicon.from_tsv(ROOT / "assets" / "lexicon")
    lexicon.matches("")
    load_seconds = process_time() - started
    terms = sorted({entry.term for entry in lexicon.entries})

    records = read_records(ROOT / "assets" / "records")
    source = "assets/records" if records else "generated from lexicon terms"
    texts = records or [plant(terms, rng, 60)[0] for _ in range(500)]
    rng.shuffle(texts)
    while sum(map(len, texts)) < characters:
        texts = texts * 2
    while len(texts) > 1 and sum(map(len, texts[:-1])) >= characters:
        texts.pop()
    total = sum(map(len, texts))

    nlp = spacy.blank("tcm")
    tokenizer = LexiconTokenizer(nlp.vocab, lexicon)
    bare = LexiconTokenizer(nlp.vocab)
    phrases = PhraseMatcher(nlp.vocab)
    phrases.add("TERM", [bare(term) for term in terms])
    segmenter = make_jieba(terms)
    docs = [bare(text) for text in texts]

    contestants: dict[str, Callable[[], object]] = {
        "spacy_tcm matcher": lambda: [lexicon.matches(text) for text in texts],
        "spacy_tcm tokenizer (Doc and matches)": lambda: [tokenizer(text) for text in texts],
        "PhraseMatcher on ready Docs": lambda: [phrases(doc) for doc in docs],
        "PhraseMatcher and character Docs": lambda: [phrases(bare(text)) for text in texts],
        "jieba": lambda: [segmenter.lcut(text, HMM=False) for text in texts],
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            times[name].append(seconds(work))
    speed = {name: round(total / statistics.median(taken)) for name, taken in times.items()}

    planted, places = plant(terms, rng, 5000)
    inside_jieba = []
    start = 0
    for word in segmenter.lcut(planted, HMM=False):
        inside_jieba.append((start, start + len(word)))
        start += len(word)
    planted_doc = bare(planted)
    found = {
        "spacy_tcm matcher": {match[:2] for match in lexicon.matches(planted)},
        "PhraseMatcher": {
            (span.start_char, span.end_char)
            for span in (planted_doc[a:b] for _, a, b in phrases(planted_doc))
        },
        "jieba": set(inside_jieba),
    }
    recall = {
        name: round(sum(place in spans for place in places) / len(places), 4)
        for name, spans in found.items()
    }

    base = "".join(texts)[: characters // 8]
    growth: dict[str, list[float]] = {str(times_): [] for times_ in (1, 2, 4, 8)}
    for _ in range(rounds):
        for factor, taken in growth.items():
            long_text = base * int(factor)
            taken.append(seconds(lambda text=long_text: lexicon.matches(text)))  # type: ignore[misc]

    result = {
        "text": {"source": source, "characters": total, "records": len(texts), "seed": seed},
        "terms": len(terms),
        "rounds": rounds,
        "load_and_build_seconds": round(load_seconds, 3),
        "characters_per_second": speed,
        "times_as_fast_as_jieba": {n: round(s / speed["jieba"], 2) for n, s in speed.items()},
        "matcher_vs_PhraseMatcher_on_ready_Docs": round(
            speed["spacy_tcm matcher"] / speed["PhraseMatcher on ready Docs"], 2
        ),
        "tokenizer_vs_PhraseMatcher_and_Docs": round(
            speed["spacy_tcm tokenizer (Doc and matches)"]
            / speed["PhraseMatcher and character Docs"],
            2,
        ),
        "share_of_planted_terms_found": recall,
        "matcher_seconds_by_length": {
            factor: {
                "characters": len(base) * int(factor),
                "seconds": round(statistics.median(taken), 5),
                "times_the_shortest": round(
                    statistics.median(taken) / statistics.median(growth["1"]), 2
                ),
            }
            for factor, taken in growth.items()
        },
        "environment": {
            "platform": platform.platform(),
            "processor": processor(),
            "cpu_count": os.cpu_count(),
            "python": platform.python_version(),
            "versions": {
                name: version(name) for name in ("spacy-tcm", "spacy", "ahocorasick_rs", "jieba")
            },
        },
    }
    out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2, ensure_ascii=False))


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="where to write the figures, as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--characters", type=int, default=400_000, help="length of the text")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    main(args.out, args.rounds, args.characters, args.seed)
