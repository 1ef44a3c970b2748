import numpy
import pytest
import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_tcm.errors import ModelError
from spacy_tcm.pipeline.teachers import Teachers

from .conftest import make_blank, make_examples

TEXT = "便血3天，脉弦细数，口干，舌红"


@pytest.fixture(scope="module")
def teacher(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    trained.to_disk(folder)
    return folder


def start(nlp, **settings):
    examples = make_examples(nlp)
    ner = nlp.get_pipe("multimodal_ner")
    ner.initialize(lambda: examples, nlp=nlp, **settings)
    nlp.resume_training()
    return ner


def test_a_student_learns_from_text_without_annotation(teacher):
    """Only the teacher says anything here: no token of the text is annotated."""
    fix_random_seed(0)
    nlp = make_blank(tongue=False)
    ner = start(nlp, teachers=[str(teacher)], teacher_weight=1.0)
    reference = nlp.make_doc(TEXT)
    reference.set_ents([], missing=[reference[:]])
    example = Example(nlp.make_doc(TEXT), reference)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.02
    for _ in range(60):
        losses = nlp.update([example], sgd=optimizer, losses={})
    wanted = ner._teachers.posteriors([example.predicted])[0]
    (found,) = ner.posteriors([nlp.make_doc(TEXT)])
    assert numpy.abs(found - wanted).max() < 0.3
    assert losses["multimodal_ner"] > 0
    expected = spacy.load(teacher)(TEXT)
    assert [(e.text, e.label_) for e in nlp(TEXT).ents] == [
        (e.text, e.label_) for e in expected.ents
    ]


def test_several_teachers_are_averaged_and_remembered(teacher):
    nlp = make_blank(tongue=False)
    labels = spacy.load(teacher).get_pipe("multimodal_ner").labels
    docs = [nlp.make_doc(TEXT), nlp.make_doc("")]
    one = Teachers([teacher], labels)
    first = one.posteriors(docs)
    assert [len(array) for array in first] == [len(doc) for doc in docs]
    assert first[0].sum(1) == pytest.approx(numpy.ones(len(docs[0])), abs=1e-3)
    again = one.posteriors(docs)
    assert first[0] == pytest.approx(again[0], abs=1e-3), "kept in half precision"
    two = Teachers([teacher, teacher], labels).posteriors(docs)
    assert first[0] == pytest.approx(two[0], abs=1e-3)


def test_labels_in_another_order(teacher):
    nlp = make_blank(tongue=False)
    labels = list(spacy.load(teacher).get_pipe("multimodal_ner").labels)
    doc = nlp.make_doc(TEXT)
    (straight,) = Teachers([teacher], labels).posteriors([doc])
    (turned,) = Teachers([teacher], labels[::-1]).posteriors([doc])
    for i in range(len(labels)):
        k = len(labels) - 1 - i
        assert straight[:, 1 + 4 * i : 5 + 4 * i] == pytest.approx(turned[:, 1 + 4 * k : 5 + 4 * k])


def test_teachers_are_not_saved_with_the_student(teacher, tmp_path):
    nlp = make_blank(tongue=False)
    start(nlp, teachers=[str(teacher)])
    nlp.to_disk(tmp_path / "student")
    assert spacy.load(tmp_path / "student").get_pipe("multimodal_ner")._teachers is None


def test_one_teacher_may_be_given_as_text(teacher):
    ner = start(make_blank(tongue=False), teachers=str(teacher))
    assert len(ner._teachers.teachers) == 1


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_impossible_weight(teacher, weight):
    with pytest.raises(ModelError, match=r"E444.*multimodal_ner"):
        start(make_blank(tongue=False), teachers=[str(teacher)], teacher_weight=weight)


def test_errors(tmp_path, trained):
    with pytest.raises(ModelError, match=r"E441.*no such folder"):
        Teachers([tmp_path / "nowhere"], ["SYMPTOM"])
    (tmp_path / "encoder").mkdir()
    with pytest.raises(ModelError, match=r"E441.*no config.cfg"):
        Teachers([tmp_path / "encoder"], ["SYMPTOM"])
    spacy.blank("tcm").to_disk(tmp_path / "empty")
    with pytest.raises(ModelError, match="no multimodal_ner"):
        Teachers([tmp_path / "empty"], ["SYMPTOM"])
    trained.to_disk(tmp_path / "teacher")
    doc = spacy.blank("tcm").tokenizer(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    doc._.record_id = "r7"
    with pytest.raises(ModelError, match=r"E440.*'r7'") as error:
        Teachers([tmp_path / "teacher"], ["SYMPTOM"]).posteriors([doc])
    assert "便血" not in str(error.value)
