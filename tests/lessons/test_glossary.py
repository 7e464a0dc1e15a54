"""The glossary: its terms are used where they are explained, and linked where they mean the same."""

import inspect
import re
import subprocess
import sys

import pytest

from pellucid import PellucidError
from pellucid.lessons.glossary import GLOSSARY, terms_of
from pellucid.lessons.lesson import LESSONS, find_lesson


def test_terms_are_in_alphabetical_order():
    assert [*GLOSSARY] == sorted(GLOSSARY, key=str.casefold)


@pytest.mark.parametrize("word", GLOSSARY)
def test_a_term_is_used_in_the_lesson_that_explains_it(word: str):
    assert GLOSSARY[word].lesson in LESSONS
    module = find_lesson(GLOSSARY[word].lesson)
    texts = [inspect.getdoc(module), *(inspect.getdoc(step) for step in module.STEPS)]
    texts += [text for notices in module.GUIDE.notices.values() for text in notices]
    assert any(re.search(rf"\b{re.escape(word)}s?\b", text or "", re.IGNORECASE) for text in texts)


def test_a_lesson_links_its_own_terms_and_those_of_the_lessons_before_it():
    assert {"kernel", "IoU", "weight"} <= {*terms_of("boxes")}
    assert "kernel" not in terms_of("svm")  # a kernel of another kind
    assert "margin" in terms_of("svm")


def test_the_terms_of_a_lesson_are_found_without_importing_other_lessons():
    code = """
import sys
from pellucid.lessons.glossary import terms_of
from pellucid.lessons.lesson import LESSONS
assert "kernel" in terms_of("boxes")
assert not {f"pellucid.lessons.{name}" for name in LESSONS} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(PellucidError, match="there is no lesson 'boxs'; did you mean 'boxes'"):
        terms_of("boxs")
