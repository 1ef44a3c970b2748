"""Markdown tables of figures."""


def table(header: list[str], rows: list[list[str]]) -> str:
    align = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, align, *rows])


def pm(score: dict[str, float | None], digits: int = 1) -> str:
    """Per cent: mean ± standard deviation."""
    if score["mean"] is None:
        return "–"
    text = f"{100 * score['mean']:.{digits}f}"
    return text if score["sd"] is None else f"{text} ± {100 * score['sd']:.{digits}f}"
