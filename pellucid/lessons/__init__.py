"""Lessons: what a course teaches before convolutional networks, each a module that runs, draws and explains itself.

A lesson is one module. Its docstring introduces it, and each function in its STEPS is a step: the docstring explains,
the code computes, the result holds the numbers and a figure. The command `pellucid lesson`, the page of the
documentation and the notebook are made from that one file.
"""

from pellucid.lessons.lesson import LESSONS, Lesson, Result, Setting, lesson

__all__ = ["LESSONS", "Lesson", "Result", "Setting", "lesson"]
