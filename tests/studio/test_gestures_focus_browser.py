"""The focus of the keyboard in the view Teach after each action that fills the cards of the classes anew."""

from pathlib import Path
from typing import Any

import pytest

from tests.cases import mostly_heavy
from tests.studio.test_browser import WAIT, until
from tests.studio.test_gestures_browser import (  # noqa: F401, fixtures
    FRAMES,
    add_classes,
    collect_pictures,
    context,
    runs,
    served,
    tab,
)

pytestmark = pytest.mark.real
LABEL = "(document.activeElement.ariaLabel ?? document.activeElement.id)"


def press(tab: Any, label: str, key: str = "Enter") -> None:  # noqa: F811
    tab.focus(f'[aria-label="{label}"]')
    tab.keyboard.press(key)


def wait_for_focus(tab: Any, label: str) -> None:  # noqa: F811
    """Wait until the focus is on an element, and check that it stays there."""
    until(tab, f"{LABEL} === {label!r}")
    tab.wait_for_timeout(300)
    assert tab.evaluate(LABEL) == label


@pytest.mark.parametrize("has_frames", mostly_heavy([True, False], 2))
@pytest.mark.parametrize(
    ("removed", "focused"),
    [("circle", "Hold to collect square"), ("square", "Hold to collect two words"), ("two words", "teach-name")],
)
def test_of_a_removed_class(removed: str, focused: str, has_frames: bool, tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "circle", "square", "two words")
    if has_frames and removed != "two words":
        collect_pictures(tab, tmp_path, 1, removed)
    press(tab, f"Remove {removed}")
    if has_frames and removed != "two words":
        tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('[data-class]').length === 2")
    wait_for_focus(tab, focused)


@pytest.mark.parametrize(("key", "focused"), [("Enter", "Name of {}"), ("Tab", "Hold to collect {}")])
@pytest.mark.parametrize("old", mostly_heavy(["circle", "two words", "last"], 2))
@pytest.mark.parametrize("new", mostly_heavy(["a b", "other"], 2))
def test_of_a_renamed_class(new: str, old: str, key: str, focused: str, tab: Any) -> None:  # noqa: F811
    add_classes(tab, "circle", "two words", "last")
    tab.fill(f'[data-class="{old}"] [data-rename]', new)
    tab.keyboard.press(key)
    tab.wait_for_selector(f'[data-class="{new}"]', timeout=WAIT)
    wait_for_focus(tab, focused.format(new))


def test_of_frames_that_are_undone_turned_or_removed(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "square", "circle", "cross")
    collect_pictures(tab, tmp_path, 26, "circle")
    press(tab, "Frames of circle")
    until(tab, "document.querySelectorAll('[data-frame]').length === 24")
    tab.focus("[data-k=older]")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('[data-frame]').length === 2")
    until(tab, "document.activeElement.dataset.k === 'newer'")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('[data-frame]').length === 24")
    until(tab, "document.activeElement.dataset.k === 'older'")
    press(tab, "Remove frame 26 of circle")
    wait_for_focus(tab, "Remove frame 25 of circle")
    press(tab, "Undo: remove the last stretch of circle")
    until(tab, f"{FRAMES.format('circle')} === 0")
    wait_for_focus(tab, "Hold to collect circle")
    tab.focus('[data-class="circle"] [webkitdirectory]')
    tab.set_input_files('[data-class="circle"] [webkitdirectory]', tmp_path / "circle")
    until(tab, f"{FRAMES.format('circle')} === 26")
    wait_for_focus(tab, "Folder of circle")


def test_of_a_class_that_escape_keeps(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "circle")
    collect_pictures(tab, tmp_path, 1, "circle")
    for _ in range(2):  # it asks each time
        press(tab, "Remove circle")
        until(tab, "document.activeElement.textContent === 'Sure?'")
        tab.keyboard.press("Escape")
        until(tab, "document.activeElement.textContent === 'Remove'")
        assert tab.evaluate(LABEL) == "Remove circle"
    assert tab.evaluate("document.querySelectorAll('[data-class]').length") == 1
