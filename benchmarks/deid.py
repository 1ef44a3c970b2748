"""Is what tells who the patient is found, and nothing else? Identifiers put into written records.

    python benchmarks/deid.py OUT.json CORPUS_DIR [--parts dev] [--seed 0]

CORPUS_DIR: corpus/ of `spacy project run convert`. Of each record of the parts (`meta` is there, so
that it is written, not of a case book), some header lines and sentences are drawn, filled with
values that are made here and not taken from the package's lists, and put before the text or after
one of its sentences. Found is what `IdentifierFinder` finds there but not in the record as it was.
"""

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from spacy_tcm.deid.find import IdentifierFinder, find_check_character
from spacy_tcm.deid.replace import ACTIONS, Deidentifier
from spacy_tcm.training.reading import read_records

Gold = tuple[str, int, int]

# Written down for this file: frequent and rare surnames, some of which no list has.
SURNAMES = (
    "王李张刘陈黄高郭马何罗梁于曾常白温方平康钟谭陆汪尹雷邱贾薛阎庞樊岑晏逄亓胥芮郜鄢"
    "呙仉邸钭禤辜揭訾郄冼"
)
COMPOUND = ("欧阳", "司马", "上官", "诸葛", "尉迟", "令狐", "澹台", "申屠", "东方", "万俟")
GIVEN = (
    "伟芳秀英建国志强丽娟桂兰浩然梓涵雨桐一诺明轩淑珍玉华春梅振东文斌晓燕佩瑶思远嘉懿"
    "乐山海燕金花立新"
)
MINORITY = (
    "阿依古丽·买买提",
    "扎西·次仁",
    "努尔兰·哈那提",
    "古丽娜尔·艾山",
    "乌云·其木格",
    "马合木提·吐尔逊",
)
CITIES = (
    "浙江省杭州市西湖区",
    "河北省沧州市任丘市",
    "广东省佛山市顺德区",
    "四川省绵阳市涪城区",
    "内蒙古自治区赤峰市红山区",
    "上海市浦东新区",
    "山东省菏泽市曹县",
    "江西省赣州市于都县",
    "湖南省湘西土家族苗族自治州凤凰县",
    "黑龙江省绥化市望奎县",
)
VILLAGES = (
    "古墩路{}号{}幢{}室",
    "解放街道复兴里{}号",
    "瓦店镇李庄村{}组",
    "梅江镇老埠村{}号",
    "翠苑小区{}栋{}单元{}室",
    "人民中路{}弄{}号",
)
HOSPITALS = (
    "浙江省中山医院",
    "临泉县中医院",
    "北京协和医院",
    "佛山市第二人民医院",
    "瓦店镇卫生院",
    "绵阳市涪城区妇幼保健院",
    "复旦大学附属华山医院",
    "曹县仁爱医院",
    "赤峰学院附属医院",
    "德济堂中医门诊部",
    "青山湖区社区卫生服务中心",
)
EMPLOYERS = (
    "杭州天目机械有限公司",
    "任丘市第三中学",
    "赤峰市红山区税务局",
    "顺德容桂电器厂",
    "中铁十二局集团",
    "望奎县实验小学",
    "宏达物流公司",
    "绵阳师范学院",
    "浦东发展银行",
)


class Maker:
    """Draws values. Numbers are made up; those of citizens have a right check character."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def digits(self, n: int) -> str:
        return "".join(self.random.choice("0123456789") for _ in range(n))

    def name(self) -> str:
        r = self.random.random()
        if r < 0.08:
            return self.random.choice(MINORITY)
        surname = self.random.choice(COMPOUND if r < 0.2 else SURNAMES)
        return surname + "".join(self.random.sample(GIVEN, self.random.choice((1, 2, 2))))

    def make(self, kind: str) -> str:
        pick, digits = self.random.choice, self.digits
        year, month, day = (
            self.random.randint(2015, 2025),
            self.random.randint(1, 12),
            self.random.randint(1, 28),
        )
        dates = (
            f"{year}年{month}月{day}日",
            f"{year}-{month:02d}-{day:02d}",
            f"{year}.{month}.{day}",
            f"{year}/{month}/{day}",
            f"{month}月{day}日",
            "二〇二三年十月二十一日",
        )
        born = self.random.randint(1930, 2004)
        birth = (f"{born}年{month}月{day}日", f"{born}-{month:02d}-{day:02d}", f"{born}年{month}月")
        mobile = "1" + pick("3456789") + digits(9)
        spaced = (
            mobile,
            f"{mobile[:3]} {mobile[3:7]} {mobile[7:]}",
            f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
            "+86 " + mobile,
        )
        region = pick(("330106", "130982", "440606", "510703", "341221"))
        number = f"{region}{born}{month:02d}{day:02d}{digits(3)}"
        address = pick(CITIES) + re.sub(
            r"\{\}", lambda _: str(self.random.randint(1, 60)), pick(VILLAGES)
        )
        letters = "".join(self.random.choice("abcdefghjkmnpqrstuvwxyz") for _ in range(7))
        values = {
            "NAME": self.name,
            "DOCTOR": self.name,
            "ID_CARD": lambda: pick(
                (number + find_check_character(number), f"{region}{number[8:14]}{digits(3)}")
            ),
            "MOBILE": lambda: pick(spaced),
            "LANDLINE": lambda: pick(
                (
                    f"0571-8{digits(7)}",
                    f"010-6{digits(7)}",
                    f"(0755)2{digits(7)}",
                    f"021 5{digits(7)}",
                )
            ),
            "RECORD_NO": lambda: pick(
                (
                    f"ZY{year}{digits(5)}",
                    digits(6),
                    digits(10),
                    f"MZ-{digits(7)}",
                    f"P{digits(8)}",
                    f"{year}-{digits(4)}",
                )
            ),
            "BED": lambda: pick(
                (
                    str(self.random.randint(1, 60)),
                    f"{self.random.randint(1, 60)}床",
                    f"+{self.random.randint(1, 9)}床",
                    f"A{digits(2)}",
                )
            ),
            "INSURANCE": lambda: pick((digits(12), "3301" + digits(8), "Y" + digits(9))),
            "ADDRESS": lambda: address,
            "EMPLOYER": lambda: pick(EMPLOYERS),
            "HOSPITAL": lambda: pick(HOSPITALS),
            "POSTCODE": lambda: pick("123456") + digits(5),
            "WECHAT": lambda: pick((letters + digits(3), "wxid_" + letters)),
            "QQ": lambda: pick("123456789") + digits(8),
            "EMAIL": lambda: f"{letters}{digits(2)}@{pick(('163.com', 'qq.com', 'zju.edu.cn'))}",
            "PLATE": lambda: (
                pick(("浙A", "京N", "川B·", "蒙D", "沪C·")) + pick("ABCDEFGH") + digits(4)
            ),
            "DATE": lambda: pick(dates),
            "BIRTH": lambda: pick(birth),
            "AGE": lambda: str(self.random.randint(90, 104)),
        }
        return values[kind]()


HEADERS = (
    "姓名：{NAME}  性别：男  年龄：56岁  床号：{BED}  住院号：{RECORD_NO}",
    "姓名:{NAME} 性别:女 出生日期:{BIRTH} 民族:汉 职业:退休",
    "{HOSPITAL}\n住院病历",
    "科别：中医内科　门诊号：{RECORD_NO}　就诊日期：{DATE}",
    "身份证号：{ID_CARD}  医保号：{INSURANCE}",
    "住址：{ADDRESS}  邮编：{POSTCODE}",
    "工作单位：{EMPLOYER}  联系电话：{MOBILE}",
    "联系人：{NAME}（其子）  电话：{LANDLINE}",
    "家庭住址:{ADDRESS}",
    "病案号 {RECORD_NO}　入院时间 {DATE}　记录者 {DOCTOR}",
    "病史陈述者：{NAME}，可靠程度：可靠",
    "检查号：{RECORD_NO}  报告日期：{DATE}  报告医师：{DOCTOR}",
    "{NAME}，女，48岁，已婚",
    "微信号：{WECHAT}　QQ：{QQ}",
    "电子邮箱：{EMAIL}  车牌号：{PLATE}",
    "姓名：{NAME}  年龄：{AGE}岁  医保卡号：{INSURANCE}",
)
SENTENCES = (
    "患者{NAME}因上症加重来诊。",
    "患者{NAME}，男，47岁。",
    "其妻{NAME}代诉病史。",
    "家属{NAME}陪同，电话{MOBILE}。",
    "曾于{DATE}在{HOSPITAL}住院治疗。",
    "转诊至{HOSPITAL}，诊断同前。",
    "家住{ADDRESS}。",
    "患者系{EMPLOYER}职工。",
    "就职于{EMPLOYER}，久坐少动。",
    "{DATE}复诊，诸症减轻。",
    "{DOCTOR}主任医师查房，同意目前诊治。",
    "请{DOCTOR}教授会诊。",
    "可拨打{LANDLINE}预约。",
    "随访手机{MOBILE}。",
    "其女微信{WECHAT}，可发送舌照。",
    "生于{BIRTH}，独居。",
    "患者现年{AGE}岁，生活自理。",
    "{BED}患者目前病情平稳。".replace("{BED}", "{WARD}"),
    "驾车{PLATE}途中突发。",
    "报告已发至{EMAIL}。",
    "身份证{ID_CARD}已核对。",
    "主治医师{DOCTOR}已告知风险。",
    "由其女{NAME}送来急诊。",
    "外院病理号{RECORD_NO}，待会诊。",
)
FOOTERS = (
    "\n医师签名：{DOCTOR}  {DATE}",
    "\n主治医师：{DOCTOR}/住院医师：{DOCTOR}",
    "\n签名:{DOCTOR}\n{DATE}",
    "\n审核：王某  护士：{DOCTOR}",
)


def fill(template: str, maker: Maker) -> tuple[str, list[Gold]]:
    """The template with values, and where they are."""
    text, gold, at = "", [], 0
    for match in re.finditer(r"\{([A-Z_]+)\}", template):
        text += template[at : match.start()]
        kind = "BED" if match[1] == "WARD" else match[1]
        value = f"{maker.random.randint(1, 60)}床" if match[1] == "WARD" else maker.make(kind)
        if maker.random.random() < 0.1:
            value = value.translate({c: c + 0xFEE0 for c in range(0x30, 0x3A)})
        gold.append((kind, len(text), len(text) + len(value)))
        text += value
        at = match.end()
    return text + template[at:], gold


def inject(text: str, maker: Maker) -> tuple[str, list[Gold], list[tuple[int, int]]]:
    """The text with identifiers put in.

    RETURNS: it, the identifiers, and (place in the old text, characters put in there), in order.
    """
    pick = maker.random
    places = [0, *(m.end() for m in re.finditer("[。\n]", text)), len(text)]
    chosen: list[tuple[int, str]] = [(0, "\n".join(pick.sample(HEADERS, 4)) + "\n")]
    chosen += sorted((pick.choice(places[1:]), s) for s in pick.sample(SENTENCES, 4))
    chosen.append((len(text), pick.choice(FOOTERS)))
    new, gold, inserted, at = "", [], [], 0
    for place, template in chosen:
        new += text[at:place]
        piece, found = fill(template, maker)
        gold += [(kind, len(new) + a, len(new) + b) for kind, a, b in found]
        inserted.append((place, len(piece)))
        new += piece
        at = place
    return new + text[at:], gold, inserted


def score(gold: list[list[Gold]], found: list[list[Gold]]) -> dict[str, Any]:
    """By kind and all: exact spans of the kind; hidden: characters all replaced, whatever as."""
    counts: dict[str, Counter[str]] = {}
    for g, f in zip(gold, found, strict=True):
        covered = {i for _, a, b in f for i in range(a, b)}
        marked = {i for _, a, b in g for i in range(a, b)}
        for kind, a, b in g:
            hit = {
                "gold": 1,
                "correct": (kind, a, b) in f,
                "hidden": covered.issuperset(range(a, b)),
            }
            for name in ("all", kind):
                counts.setdefault(name, Counter()).update(hit)
        for kind, a, b in f:
            hit = {"found": 1, "of_an_identifier": bool(marked.intersection(range(a, b)))}
            for name in ("all", kind):
                counts.setdefault(name, Counter()).update(hit)
    return {
        kind: {
            "gold": c["gold"],
            "found": c["found"],
            "precision": c["correct"] / c["found"] if c["found"] else None,
            "recall": c["correct"] / c["gold"] if c["gold"] else None,
            "hidden": c["hidden"] / c["gold"] if c["gold"] else None,
            "of_an_identifier": c["of_an_identifier"] / c["found"] if c["found"] else None,
        }
        for kind, c in sorted(counts.items())
    }


def check_copies(texts: list[str], entities: list[list[tuple[int, int]]]) -> dict[str, Any]:
    """Of the masked copies: do entities map there and back, do intervals stay, are the same names
    the same?"""
    finder = IdentifierFinder.from_path()
    checks: Counter[str] = Counter()
    for action in ACTIONS:
        deidentifier = Deidentifier(finder, action, b"benchmark key, no secret")
        for number, (text, spans) in enumerate(zip(texts, entities, strict=True)):
            result = deidentifier(text, str(number))
            pieces = result.map.pieces
            for start, end in spans:
                if any(p.start < end and start < p.end for p in pieces):
                    continue
                new = result.map.to_new(start, end)
                checks["entities"] += 1
                checks["entities_kept"] += result.text[slice(*new)] == text[start:end]
                checks["entities_back"] += result.map.to_old(*new) == (start, end)
            values = [text[p.start : p.end] for p in pieces]
            checks["texts"] += 1
            checks["restored"] += result.map.restore(result.text, values) == text
            if action == "surrogate":
                again = deidentifier(text, str(number))
                other = deidentifier(text, "another patient")
                copies = [result.text[p.new_start : p.new_end] for p in pieces]
                others = [other.text[p.new_start : p.new_end] for p in other.map.pieces]
                by_value: dict[tuple[str, str], set[str]] = {}
                for p, value, copy, o in zip(pieces, values, copies, others, strict=True):
                    by_value.setdefault((p.kind, value), set()).add(copy)
                    if p.kind in ("NAME", "DOCTOR"):
                        checks["names"] += 1
                        checks["names_differ_by_patient"] += copy != o
                    if p.kind != "AGE":
                        checks["values"] += 1
                        checks["values_that_stayed"] += copy == value
                checks["distinct_values"] += len(by_value)
                checks["with_one_surrogate"] += sum(len(s) == 1 for s in by_value.values())
                checks["same_again"] += again == result or again.text == result.text
    return dict(checks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--parts", nargs="+", default=["dev"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--show-misses", action="store_true", help="print what was missed; of train"
    )
    args = parser.parse_args()
    records = [
        r
        for part in args.parts
        for r in read_records(args.corpus / f"{part}.jsonl")
        if r.get("meta")
    ]
    finder, maker = IdentifierFinder.from_path(), Maker(args.seed)
    gold, found, texts, entities = [], [], [], []
    alarms: Counter[str] = Counter()
    for record in records:
        text, identifiers, inserted = inject(record["text"], maker)

        def moved(at: int, inserted: list[tuple[int, int]] = inserted) -> int:
            return at + sum(length for place, length in inserted if place <= at)

        own = [tuple(item) for item in finder.find(record["text"])]
        alarms.update(kind for kind, _, _ in own)
        there = {(kind, moved(a), moved(b - 1) + 1) for kind, a, b in own}
        gold.append(identifiers)
        found.append([tuple(item) for item in finder.find(text) if tuple(item) not in there])
        texts.append(text)
        entities.append([(moved(a), moved(b - 1) + 1) for a, b, _ in record["entities"]])
        if args.show_misses:
            for kind, a, b in set(identifiers) ^ set(found[-1]):
                sign = "-" if (kind, a, b) in identifiers else "+"
                print(
                    sign,
                    kind,
                    repr(text[max(0, a - 8) : a] + "【" + text[a:b] + "】" + text[b : b + 6]),
                )
    characters = sum(len(record["text"]) for record in records)
    others = sum(n for kind, n in alarms.items() if kind not in ("DATE", "MONTH"))
    report = {
        "parts": args.parts,
        "seed": args.seed,
        "records": len(records),
        "injected": sum(map(len, gold)),
        "scores": score(gold, found),
        "untouched": {
            "characters": characters,
            "found": dict(alarms),
            "false_alarms_per_1000_characters": 1000 * others / characters,
        },
        "copies": check_copies(texts, entities),
    }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    s = report["scores"]["all"]
    print(f"{s['gold']} identifiers: P {s['precision']:.4f} R {s['recall']:.4f}, ", end="")
    print(f"hidden {s['hidden']:.4f}")
    print(f"untouched: {dict(alarms)}; copies: {report['copies']}")


if __name__ == "__main__":
    main()
