"""Files of the view Teach in a browser: those that are read, and those that are left out with the reason."""

from pathlib import Path
from typing import Any

import pytest

from tests.studio.collected import picture
from tests.studio.test_browser import until
from tests.studio.test_gestures_browser import (  # noqa: F401, fixtures
    FRAMES,
    add_classes,
    context,
    runs,
    served,
    tab,
)

pytestmark = pytest.mark.real


def test_odd_files_of_a_folder_do_not_end_it(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    """Narrow pictures and files that are none are left out with the reason; an animation gives several frames."""
    for number, size in enumerate([(1000, 60), (60, 1000), (171, 128), (12, 12), (300, 1400)]):
        picture("circle", 1, number).resize(size).save(tmp_path / f"{number}.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    frames = [picture("circle", 1, number) for number in range(5)]
    frames[0].save(tmp_path / "z.gif", save_all=True, append_images=frames[1:], duration=200)
    add_classes(tab, "shape")
    tab.set_input_files('[data-class="shape"] [webkitdirectory]', tmp_path)
    until(tab, f"{FRAMES.format('shape')} === 8")  # three pictures, and five frames of the animation
    until(tab, "document.querySelector('#teach-problem').textContent.includes('3 of 7 files left out')")
    tab.set_input_files("#teach-try", tmp_path / "0.png")
    until(tab, "document.querySelector('#teach-problem').textContent.includes('more than 5 times as long as wide')")


def test_files_are_read_by_their_bytes_and_all_others_named(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    """The ending of a name may be of another type; of 25 files that are none, 20 are named."""
    frames = [picture("circle", 1, number) for number in range(3)]
    for type_ in ("png", "jpeg", "webp"):
        for ending in ("png", "jpg", "webp", "gif"):
            frames[0].save(tmp_path / f"{type_}.{ending}", type_)
    for ending in ("gif", "png", "jpg"):
        frames[0].save(tmp_path / f"moving.{ending}", "GIF", save_all=True, append_images=frames[1:], duration=200)
    (tmp_path / "empty.png").touch()
    for number in range(25):
        (tmp_path / f"none{number}.png").write_bytes(b"no picture")
    picture("circle", 1, 0).resize((1000, 60)).save(tmp_path / "wide.png")
    frames[0].save(tmp_path / "scan.tif")
    for type_ in ("png", "jpeg", "webp", "gif", "bmp"):
        frames[0].save(tmp_path / "whole", type_)
        (tmp_path / f"cut.{type_}").write_bytes((tmp_path / "whole").read_bytes()[:20])
    (tmp_path / "whole").unlink()
    add_classes(tab, "shape")
    tab.set_input_files('[data-class="shape"] [webkitdirectory]', tmp_path)
    until(tab, "document.querySelector('#teach-problem').textContent.includes('33 of 48 files left out')")
    assert tab.evaluate(FRAMES.format("shape")) == 12 + 9
    sentence = tab.inner_text("#teach-problem")
    assert "empty.png (an empty file)" in sentence
    assert "none18.png, none19.png and 5 more (no picture)" in sentence
    assert "cut.bmp, cut.gif, cut.jpeg, cut.png, cut.webp (a damaged picture)" in sentence
    assert "scan.tif (a TIFF, which browsers do not read; save it as PNG)" in sentence
    assert "wide.png (more than 5 times as long as wide)" in sentence
