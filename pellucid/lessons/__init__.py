"""Lessons: the topics of an introductory course, each a module with explanations, code and figures.

A lesson is one module. Its docstring introduces it, and each function in its STEPS is a step: the docstring explains,
the code computes, and the result contains numbers and a figure. Its GUIDE asks: guesses, sliders and exercises. The
command `pellucid lesson`, the studio's view Learn, the page of the documentation and the notebook are all generated
from the module. `check` compares a reader's solution of an exercise with its reference, and returns a CheckResult.
"""

from typing import TYPE_CHECKING

from pellucid.base.lazy import lazy_getattr
from pellucid.lessons.lesson import LESSONS, Lesson, LessonSettings, Result, lesson

if TYPE_CHECKING:
    from pellucid.lessons.function_check import CheckResult, check

__all__ = ["LESSONS", "CheckResult", "Lesson", "LessonSettings", "Result", "check", "lesson"]

# Imported on first use, so that the list of lessons is printed without PyTorch.
__getattr__ = lazy_getattr(__name__, __all__, ("pellucid.lessons.function_check",))
