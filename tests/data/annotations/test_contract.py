"""Every format of annotations: its sample is found and read, and what is damaged, unknown or too large is refused."""

import random
from importlib import import_module

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data.annotations import FORMATS, find_format, read_annotations
from pellucid.data.tree import DOCUMENT_SUFFIXES, open_tree
from tests.data.annotations.sets import SAMPLES
from tests.data.pictures import picture_bytes

every_format = pytest.mark.parametrize("name", FORMATS)


def test_every_format_has_a_sample() -> None:
    assert SAMPLES.keys() == FORMATS.keys(), "add a sample of each format to tests/data/annotations/sets.py"


@every_format
def test_annotation_files_count_towards_the_limits_of_documents(name: str) -> None:
    assert SAMPLES[name].file.endswith(DOCUMENT_SUFFIXES), "add it to DOCUMENT_SUFFIXES of pellucid/data/tree.py"


def read_sample(write_tree, name, text=None, classes=None):
    sample = SAMPLES[name]
    files = {**sample.files, sample.image: picture_bytes((0, 0, 0), (30, 20))}
    with open_tree(write_tree("set", files | ({} if text is None else {sample.file: text}))) as tree:
        return find_format(tree)[0], read_annotations(tree, "", classes)


@every_format
def test_a_sample_is_found_and_read(name, write_tree) -> None:
    found, annotations = read_sample(write_tree, name)
    (record,) = annotations.records
    (instance,) = record.instances
    assert (found, annotations.faults) == (name, ())
    assert (annotations.classes, record.image, record.size) == ((SAMPLES[name].label,), SAMPLES[name].image, (20, 30))
    assert instance.box == pytest.approx(SAMPLES[name].box)


def refusals(write_tree, name, text=None, classes=None) -> list[str]:
    """Return the message of the error of a changed sample, or the reasons of its refused faults."""
    try:
        _, annotations = read_sample(write_tree, name, text, classes)
    except PellucidError as error:
        return [str(error)]
    return [fault.reason for fault in annotations.faults if fault.effect == "refused"]


@every_format
def test_damaged_files_raise_no_other_error(name, write_tree) -> None:
    rng, text = random.Random(0), SAMPLES[name].files[SAMPLES[name].file]
    messages = []
    for _ in range(60):
        start, stop = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        replacement = rng.choice((b"", b"\xff", b"-1", b"nan", b"[]", b"{", text[stop:], b"9" * 400))
        messages += refusals(write_tree, name, text[:start] + replacement + text[stop:])
    assert len(messages) > 20
    assert [message for message in messages if "\n" in message] == []


@every_format
def test_a_class_that_is_not_allowed_is_refused(name, write_tree) -> None:
    assert any(SAMPLES[name].label in message for message in refusals(write_tree, name, classes=("bird",)))


@every_format
def test_more_objects_in_an_image_than_the_limit_are_refused(name, write_tree, monkeypatch) -> None:
    monkeypatch.setattr(import_module(f"pellucid.data.annotations.{name}"), "MAX_OBJECTS", 0)
    assert any("more than 0" in message for message in refusals(write_tree, name))
