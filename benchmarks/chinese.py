"""The table of results in Chinese, for README.zh.md: the English one, phrase by phrase."""

from typing import Any

from benchmarks_page import headline

PHRASES = {
    "reproduced?": "是否复现",
    "| published |": "| 论文 |",
    "| here |": "| 本项目 |",
    # What is compared.
    "throughput against BERT-Large": "吞吐量，BERT-Large 的倍数",
    "memory against BERT-Large": "内存，与 BERT-Large 相比",
    "F1 of entities": "实体 F1",
    "gate of the photo, F1": "照片门控，F1",
    "lexicon, rare entities": "词典，罕见实体",
    "DBP: peak memory": "动态批剪枝（DBP）：峰值内存",
    "DBP: records done, long ones too": "DBP：完成的记录，含超长者",
    "60 % of inner bytes pruned": "剪去内部字节的 60 %",
    "at equal bytes against the better L1": "同等字节，与较好的 L1 相比",
    "at equal bytes against the better Taylor": "同等字节，与较好的 Taylor 相比",
    "typed fields, F1": "结构化字段，F1",
    "confidence of association rules": "关联规则的置信度",
    # Figures.
    "(text / text + photo: entities, one thread, INT8 against fp32)": (
        "（文本 / 文本加照片：只取实体，单线程，INT8 对 fp32）"
    ),
    "(whole record, two threads, INT8 against bf16)": "（整份记录，双线程，INT8 对 bf16）",
    "(of BERT-Large 92.1)": "（BERT-Large 为 92.1）",
    "(simulated hospitals held out, short training)": "（留出的模拟医院，短时训练）",
    "(50 real cases, as released)": "（50 份真实病案，发布版）",
    "(recall, small pipeline)": "（召回率，小流程）",
    "(small pipeline)": "（小流程）",
    "(the method)": "（本方法）",
    "(text, F1)": "（文本，F1）",
    "(text / tongue, tuned longer)": "（文本 / 舌象，微调更久）",
    "(tongue, macro F1)": "（舌象，宏平均 F1）",
    "87.5 to 95.6": "87.5 至 95.6",
    "of them of < 20 values)": "项不足 20 个值）",
    "points)": "个百分点）",
    # Reproduced?
    "more, but of another machine (theirs: a GPU)": "更高，但机器不同（论文用 GPU）",
    "as much, of a process on a CPU": "相当，CPU 上的进程",
    "**not reproduced**: other data, labels and weights": "**未复现**：数据、标签、权重都不同",
    "in the small pipeline only; text alone is as good or better": "仅小流程如此；只用文本不差于此",
    "in direction, smaller": "方向一致，幅度较小",
    "more, against batches without any bound; the default takes as little": (
        "更多，但对照的是毫无限制的批；默认设置同样省"
    ),
    "so without it, with memory enough": "内存足够时，不用 DBP 也是如此",
    "less is lost after twelve steps of tuning, nothing after 150": (
        "微调十二步后损失较小，一百五十步后没有"
    ),
    "theirs: 3.8 against 4.8 GB; for text within noise": "论文为 3.8 对 4.8 GB；文本在误差之内",
    "not published": "论文未报告",
    "on invented notes only": "仅限虚构病历",
    "in direction; chosen by the structured confidence": "方向一致；规则按结构化后的置信度选出",
}


def headline_zh(data: dict[str, Any]) -> str:
    text = headline(data)
    for english, chinese in PHRASES.items():
        text = text.replace(english, chinese)
    for english, chinese in (
        ("above in ", "超过 "),
        (" of 10 (", " / 10 项（其中 "),
        ("% (", "%（"),
        ("; ", "；"),
        (" （", "（"),
    ):
        text = text.replace(english, chinese)
    return text
