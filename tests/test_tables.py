"""What is said of a table that is wrong, and what of one that an older version has stored."""

import copy
import json

import pytest
import spacy

from spacy_tcm.context.rules import ContextRules
from spacy_tcm.deid.find import IdentifierFinder
from spacy_tcm.errors import ModelError
from spacy_tcm.fields.pulse import PulseGrammar
from spacy_tcm.fields.tongue import TongueGrammar
from spacy_tcm.models.syndrome_elements import SyndromeElements
from spacy_tcm.prescriptions.cautions import Cautions
from spacy_tcm.prescriptions.grammar import PrescriptionGrammar
from spacy_tcm.relations import RelationRules
from spacy_tcm.sections import SectionGrammar

ALL = (
    *(ContextRules, IdentifierFinder, PulseGrammar, TongueGrammar, SyndromeElements),
    *(Cautions, PrescriptionGrammar, RelationRules, SectionGrammar),
)


def change(data, path, value):
    """A copy of it with another value there; None takes the key away."""
    changed = copy.deepcopy(data)
    *outer, last = path
    place = changed
    for key in outer:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


@pytest.mark.parametrize(
    ("kind", "path", "value", "cause"),
    [
        (IdentifierFinder, ["kinds"], None, r"E636.*\(missing: kinds\)"),
        (IdentifierFinder, ["names", "surnames"], None, r"missing: names\.surnames"),
        (ContextRules, ["past"], None, "E601.*missing: past"),
        (ContextRules, ["stops"], 3, "stops must be a list, not a number"),
        (SectionGrammar, ["headers"], [], "headers must be an object, not a list"),
        (SectionGrammar, ["cues", "advice"], "(", r"cues\.advice must be a list, not a text"),
        (SectionGrammar, ["cues", "follow_up", 1], "(", r"cues\.follow_up\[1\]: it is no regular"),
        (SectionGrammar, ["cues", "advice"], [7], r"cues\.advice\[0\] must be a text, not a num"),
        (RelationRules, ["scores", "mine"], "high", r"scores\.mine must be a number, not a text"),
        (RelationRules, ["scores", "visit"], None, "scores: visit missing"),
        (RelationRules, ["needles"], "[针", "needles: it is no regular expression"),
        (PrescriptionGrammar, ["regimen"], [""], "a word is empty"),
    ],
)
def test_errors_name_the_key_in_words(tmp_path, kind, path, value, cause):
    file = tmp_path / "own.json"
    file.write_text(json.dumps(change(kind.from_path().data, path, value)), "utf8")
    with pytest.raises(ModelError, match=cause) as raised:
        kind.from_path(file)
    assert str(file) in str(raised.value)
    assert "Error" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [("[]", "it must be an object, not a list"), ("{", "it is no JSON"), (None, "No such file")],
)
@pytest.mark.parametrize("kind", ALL)
def test_no_table_at_all(tmp_path, kind, text, cause):
    file = tmp_path / "own.json"
    if text:
        file.write_text(text, "utf8")
    with pytest.raises(ModelError, match=rf"own\.json.*{cause}"):
        kind.from_path(file)


@pytest.mark.parametrize("kind", ALL)
def test_what_an_older_version_did_not_store_is_our_own(kind):
    own = kind.from_path().data
    for key in own:
        stored = {name: value for name, value in own.items() if name != key}
        assert kind.from_stored(stored).data == own


def test_what_is_stored_is_kept_and_within_an_object_nothing_comes_back():
    own = SectionGrammar.from_path().data
    stored = change(change(own, ["headers", "signature"], None), ["one_line"], [])
    assert SectionGrammar.from_stored(stored).data == stored


def test_a_pipeline_of_an_older_version_is_loaded(tmp_path):
    nlp = spacy.blank("tcm")
    missing = {
        "tcm_context": ("rules", "context.json", ["removed"]),
        "tcm_sections": ("grammar", "sections.json", ["lead"]),
        "tcm_relations": ("rules", "relations.json", ["items"]),
    }
    for name in missing:
        nlp.add_pipe(name)
    nlp.to_disk(tmp_path)
    for name, (_, file, path) in missing.items():
        stored = tmp_path / name / file
        data = change(json.loads(stored.read_text("utf8")), path, None)
        if name == "tcm_context":
            del data["family"][next(iter(data["family"]))]
        stored.write_text(json.dumps(data), "utf8")
    again = spacy.load(tmp_path)
    for name, (attribute, _, _) in missing.items():
        ours = getattr(nlp.get_pipe(name), attribute).data
        assert getattr(again.get_pipe(name), attribute).data == ours
