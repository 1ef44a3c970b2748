"""A knowledge graph of many records, in a folder on disk, and questions to it (SPARQL)."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from spacy_tcm.errors import Errors, ModelError, RecordError
from spacy_tcm.records.exports import rdf
from spacy_tcm.records.exports.common import Record

# Records that are put into the store at once.
BATCH = 200
FILTERS = "# filters"
PREFIXES = "".join(f"PREFIX {name}: <{iri}>\n" for name, iri in rdf.CONTEXT.items())


def build_graph(records: Iterable[Record], folder: Path, *, facts_only: bool = True) -> int:
    """Write a store of pyoxigraph, in place of one that is there, as `rdf.make_graph` describes
    its contents.

    RETURNS: how many triples. RAISES ModelError: pyoxigraph or rdflib is not there. RecordError:
        the folder holds something else.
    """
    ox = _pyoxigraph()
    if folder.exists() and any(folder.iterdir()) and not (folder / "CURRENT").is_file():
        raise RecordError(Errors.E591.format(path=folder))
    folder.mkdir(parents=True, exist_ok=True)
    store = ox.Store(folder)
    store.clear()
    stream = iter(records)
    while some := list(islice(stream, BATCH)):
        text = rdf.make_graph(some, facts_only=facts_only).serialize(format="nt")
        store.bulk_load(text.encode(), format=ox.RdfFormat.N_TRIPLES)
    store.flush()
    return len(store)


def saved_queries() -> dict[str, str]:
    """Name -> SPARQL of the questions that come with the package."""
    folder = files("spacy_tcm") / "resources" / "queries"
    found = [path for path in folder.iterdir() if path.name.endswith(".rq")]
    return {path.name[:-3]: path.read_text(encoding="utf8") for path in sorted(found, key=str)}


def ask(
    folder: Path, query: str, values: Mapping[str, str] | None = None
) -> tuple[Sequence[str], list[list[Any]]]:
    """Put a question to a store that `build_graph` has made.

    query: the name of a saved one, or SPARQL (SELECT); the prefixes of the graph are known.
    values: variable -> the text that it must be; the query says by the line "# filters" where
        conditions may stand.
    RETURNS: the names of the columns, and the rows, None where a row has nothing.
    RAISES RecordError: there is no store, the query cannot be understood, or it has no such
        variable.
    """
    ox = _pyoxigraph()
    check_store(folder)
    text = saved_queries().get(query, query)
    known = set(re.findall(r"[?$](\w+)", text))
    for name in values or ():
        if name not in known:
            raise RecordError(Errors.E598.format(name=name, known=", ".join(sorted(known))))
    filters = "".join(
        f"FILTER(STR(?{name}) = {json.dumps(value, ensure_ascii=False)})\n"
        for name, value in (values or {}).items()
    )
    if filters and FILTERS not in text:
        raise RecordError(Errors.E594.format(line=FILTERS))
    store = ox.Store.read_only(str(folder))
    try:
        found = store.query(PREFIXES + text.replace(FILTERS, filters))
        names = [variable.value for variable in found.variables]
    except (SyntaxError, ValueError, AttributeError) as error:
        cause = str(error).splitlines()[0] if isinstance(error, SyntaxError) else "no SELECT"
        names_known = ", ".join(saved_queries())
        raise RecordError(Errors.E593.format(cause=cause, known=names_known)) from None
    return names, [[_value(solution[name]) for name in names] for solution in found]


def check_store(folder: Path) -> None:
    """RAISES RecordError: there is no store that `build_graph` has made."""
    if not (folder / "CURRENT").is_file():
        raise RecordError(Errors.E592.format(path=folder))


def describe(query: str) -> str:
    """What a saved query answers: its first comment."""
    match = re.match(r"#\s*(.*)", query)
    return match[1] if match else ""


def _value(term: Any) -> Any:
    if term is None:
        return None
    kind = getattr(getattr(term, "datatype", None), "value", "").rpartition("#")[2]
    if kind == "integer":
        return int(term.value)
    if kind in ("decimal", "double", "float"):
        return float(term.value)
    return term.value


def _pyoxigraph() -> Any:
    try:
        import pyoxigraph
    except ModuleNotFoundError as error:
        raise ModelError(Errors.E590.format(package=error.name)) from None
    return pyoxigraph
