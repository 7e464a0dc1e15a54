"""Lessons: the topics of an introductory course, each a module with explanations, code and figures.

A lesson is one module. Its docstring introduces it, and each function in its STEPS is a step: the docstring explains,
the code computes, and the result contains numbers and a figure. Its GUIDE asks: guesses, sliders and exercises. The
command `pellucid lesson`, the studio's view Learn, the page of the documentation and the notebook are all generated
from the module.
"""

from pellucid.lessons.check import CheckedFunction, check
from pellucid.lessons.lesson import LESSONS, Lesson, Result, Setting, lesson

__all__ = ["LESSONS", "CheckedFunction", "Lesson", "Result", "Setting", "check", "lesson"]
