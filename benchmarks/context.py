"""Precision, recall and F1 of `tcm_context` by qualifier, beside negspacy and edsnlp.

    python benchmarks/context.py OUT.json CORPUS_DIR [--model PIPELINE] [--peers PYTHON]

CORPUS_DIR holds train.jsonl, tune.jsonl (both used to write the rules) and dev.jsonl (held out);
only the written records, which have qualifiers, count. --model: also with the entities that a
pipeline predicts, of which those with a gold entity's exact span and label count. --peers: the
interpreter that has negspacy and edsnlp; they get our cues (plain words; neither takes our
expressions), the gold entities, one token a character and our sentences. Without sections, on the
other hand: neither knows Chinese headers.
"""

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spacy_tcm.context.rules import ContextRules

QUALIFIERS = ("absent", "past", "future", "possible", "family")
PARTS = ("train", "tune", "dev")
HERE = Path(__file__).parent

# The words behind the expressions of resources/context.json, for tools that match words.
CUES = {
    "pseudo": (
        "无不 并非没有 莫不 无非 有无 无论 无殊 无特殊 无明显诱因 无明显原因 无诱因 不减 不止 未愈"
    ).split(),
    "negation_before": (
        "无 否认 未见 未诉 未及 未闻及 未触及 未扪及 未引出 未发现 未出现 未找到 未提示 不伴 "
        "不见 没有 并无 从无 未再 未再出现 未闻 不支持 排除"
    ).split(),
    "negation_after": (
        "(-) (－) （-） （－） 阴性 均阴性 未见 未及 未触及 未闻及 未引出 未再出现 已除外 "
        "可除外 已排除 可排除 不支持 不显 不明显 消失 已除"
    ).split(),
    "possible_before": (
        "考虑 疑 疑似 可疑 不除外 不能除外 不排除 警惕 防 预防 必要时 若 如 倘"
    ).split(),
    "possible_after": "待排 待查 待除外 ？ ? 可能 可疑 不除外 不能除外 （？）".split(),
    "past": "既往 既往史 曾 病史 历服 先后 外院 当地 自服 自行 社区".split(),
    "family": (
        "父亲 母亲 其父 其母 父母 祖父 祖母 外婆 外祖母 姐姐 兄 弟 姨母 家族史 家族 家中"
    ).split(),
    "stops": "， , 。 ； ; 但 而 伴 可见 \n".split(" "),
}


def read_records(path: Path) -> list[dict[str, Any]]:
    """The written records; qualifiers as {(start, end): {names}}."""
    records = []
    for line in path.read_text(encoding="utf8").splitlines():
        record = json.loads(line)
        if "meta" not in record:
            continue
        marks: dict[tuple[int, int], set[str]] = {}
        for start, end, name in record["qualifiers"]:
            marks.setdefault((start, end), set()).add(name)
        entities = sorted(tuple(entity) for entity in record["entities"])
        records.append({"text": record["text"], "entities": entities, "marks": marks})
    return records


def names_of(found: dict[str, str]) -> set[str]:
    """The qualifiers as the records write them."""
    names = {found["temporality"], found["experiencer"]} - {"current", "patient"}
    if found["negation"] == "absent":
        names.add("absent")
    if found["certainty"] == "possible":
        names.add("possible")
    return names


def score(records: list[dict[str, Any]], found: list[list[Any]]) -> dict[str, Any]:
    """found: per record, per entity the names of its qualifiers, None for one not predicted."""
    counts: Counter[tuple[str, str]] = Counter()
    for record, per_entity in zip(records, found, strict=True):
        for (start, end, _), names in zip(record["entities"], per_entity, strict=True):
            if names is None:
                continue
            gold = record["marks"].get((start, end), set())
            for name in QUALIFIERS:
                kind = {(1, 1): "tp", (1, 0): "fp", (0, 1): "fn"}.get((name in names, name in gold))
                counts[name, kind or "tn"] += 1
    scores = {}
    for name in QUALIFIERS:
        tp, fp, fn = (counts[name, kind] for kind in ("tp", "fp", "fn"))
        scores[name] = {
            "gold": tp + fn,
            "precision": tp / (tp + fp) if tp + fp else None,
            "recall": tp / (tp + fn) if tp + fn else None,
            "f": 2 * tp / (2 * tp + fp + fn) if tp + fn else None,
        }
    return scores


def read_ours(records: list[dict[str, Any]]) -> list[list[set[str]]]:
    rules = ContextRules.from_path()
    return [[names_of(q) for q in rules.read(r["text"], r["entities"])] for r in records]


def read_predicted(records: list[dict[str, Any]], nlp: Any) -> list[list[set[str] | None]]:
    rules, found = ContextRules.from_path(), []
    for record, doc in zip(records, nlp.pipe(r["text"] for r in records), strict=True):
        entities = [(e.start_char, e.end_char, e.label_) for e in doc.ents]
        read = dict(zip(entities, rules.read(doc.text, entities), strict=True))
        found.append([names_of(read[e]) if e in read else None for e in record["entities"]])
    return found


def read_peers(records: list[dict[str, Any]], python: str) -> dict[str, list[list[list[str]]]]:
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder, "job.json"), Path(folder, "out.json")
        rows = [{"text": r["text"], "entities": r["entities"]} for r in records]
        job.write_text(json.dumps({"cues": CUES, "records": rows}), encoding="utf8")
        subprocess.run([python, str(HERE / "context_worker.py"), str(job), str(out)], check=True)
        return json.loads(out.read_text(encoding="utf8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--peers")
    args = parser.parse_args()
    nlp = None
    if args.model:
        import spacy

        nlp = spacy.load(args.model)
    result: dict[str, Any] = {"spacy": version("spacy"), "parts": {}}
    for part in PARTS:
        records = read_records(args.corpus / f"{part}.jsonl")
        rows = {"tcm_context": score(records, read_ours(records))}
        if nlp is not None and part == "dev":
            found = read_predicted(records, nlp)
            rows["tcm_context, predicted entities"] = score(records, found)
        if args.peers:
            for name, found in read_peers(records, args.peers).items():
                rows[name] = score(records, found)
        result["parts"][part] = {"records": len(records), "scores": rows}
        for name, scores in rows.items():
            shown = {q: s["f"] and round(s["f"], 3) for q, s in scores.items()}
            print(f"{part} {name}: {shown}")
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
