"""Files of the view Teach in a browser: those that are read, and those that are left out with the reason."""

from pathlib import Path
from typing import Any

import pytest

from tests.studio.collected import picture
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


LEFT = "document.querySelector('[data-class=\"{}\"] [data-left]')?.textContent.includes('{} files left out')"


def reasons(tab: Any, name: str) -> dict[str, str]:  # noqa: F811
    """Return the files that were left out of a class, by reason, with those that are folded."""
    texts = tab.evaluate(
        f"""[...document.querySelectorAll('[data-class="{name}"] li')].map((one) => one.textContent)"""
    )
    return {reason: " ".join(files.split()) for reason, files in (text.rsplit(": ", 1) for text in texts)}


@pytest.mark.heavy
def test_odd_files_of_a_folder_do_not_end_it(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    """Small and narrow pictures, and files that are none, are left out; an animation gives several frames."""
    for number, size in enumerate([(1000, 60), (60, 1000), (171, 128), (16, 16), (300, 1400), (15, 40), (2, 2)]):
        picture("circle", 1, number).resize(size).save(tmp_path / f"{number}.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    frames = [picture("circle", 1, number) for number in range(5)]
    frames[0].save(tmp_path / "z.gif", save_all=True, append_images=frames[1:], duration=200)
    add_classes(tab, "shape")
    tab.set_input_files('[data-class="shape"] [webkitdirectory]', tmp_path)
    until(tab, LEFT.format("shape", "5 of 9"))
    assert tab.evaluate(FRAMES.format("shape")) == 8  # three pictures, and five frames of the animation
    assert reasons(tab, "shape") == {
        "a text, no picture": "a.png",
        "fewer than 16 pixels high or wide": "5.png, 6.png",
        "more than 5 times as long as wide": "0.png, 1.png",
    }
    tab.set_input_files("#teach-try", tmp_path / "0.png")
    until(tab, "document.querySelector('#teach-problem').textContent.includes('more than 5 times as long as wide')")


def test_files_are_read_by_their_bytes_and_all_others_named(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    """The ending of a name may be of another type; of 25 files that are none, 20 are named, and the others folded."""
    frames = [picture("circle", 1, number) for number in range(3)]
    for type_ in ("png", "jpeg", "webp"):
        for ending in ("png", "jpg", "webp", "gif"):
            frames[0].save(tmp_path / f"{type_}.{ending}", type_)
    for ending in ("gif", "png", "jpg"):
        frames[0].save(tmp_path / f"moving.{ending}", "GIF", save_all=True, append_images=frames[1:], duration=200)
    (tmp_path / "empty.png").touch()
    for number in range(25):
        (tmp_path / f"none{number}.png").write_bytes(b"no picture" + bytes([number % 2 * 200]))
        (tmp_path / f"text{number}.jpg").write_text(f"{number} notes\n" * 40)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    picture("circle", 1, 0).resize((1000, 60)).save(tmp_path / "wide.png")
    frames[0].save(tmp_path / "scan.tif")
    for type_ in ("png", "jpeg", "webp", "gif", "bmp"):
        frames[0].save(tmp_path / "whole", type_)
        whole = (tmp_path / "whole").read_bytes()
        (tmp_path / f"cut.{type_}").write_bytes(whole[:60])
        damaged = whole[:12] + bytes(byte ^ 255 for byte in whole[12:-20]) + whole[-20:]
        (tmp_path / f"damaged.{type_}").write_bytes(damaged)
    (tmp_path / "whole").unlink()
    add_classes(tab, "shape")
    tab.set_input_files('[data-class="shape"] [webkitdirectory]', tmp_path)
    until(tab, LEFT.format("shape", "64 of 79"))
    assert tab.evaluate(FRAMES.format("shape")) == 12 + 9
    found = reasons(tab, "shape")
    names = ", ".join(f"none{number}.png" for number in range(20))
    folded = ", ".join(f"none{number}.png" for number in range(20, 25))
    assert found.pop("no picture of a type that browsers read") == f"{names} and 5 more{folded}"
    names = ", ".join(["table.csv", *(f"text{number}.jpg" for number in range(19))])
    folded = ", ".join(f"text{number}.jpg" for number in range(19, 25))
    assert found.pop("a text, no picture") == f"{names} and 6 more{folded}"
    assert found == {
        "a picture that is cut off: its end is missing": "cut.gif, cut.jpeg, cut.png",
        "a damaged picture": "cut.bmp, cut.webp, damaged.bmp, damaged.gif, damaged.jpeg, damaged.png, damaged.webp",
        "a TIFF, which browsers do not read; save it as PNG": "scan.tif",
        "an empty file": "empty.png",
        "more than 5 times as long as wide": "wide.png",
    }
    assert "text24.jpg" not in tab.inner_text("[data-left]")
    tab.click('[data-class="shape"] summary >> nth=0')
    tab.click('[data-class="shape"] summary >> nth=1')
    assert "text24.jpg" in tab.inner_text("[data-left]")


def test_an_svg_is_named_with_what_to_do(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><circle r="20"/></svg>'
    starts = (
        "",
        '<?xml version="1.0"?>\n',
        "\ufeff",
        "<!-- \n> é -->\n",
        "<!DOCTYPE svg>",
        '<?xml version="1.0"?><!-- a -->\n',
    )
    for number, start in enumerate(starts):
        (tmp_path / f"{number}.{'svg' if number % 2 else 'png'}").write_text(start + svg, encoding="utf-8")
    (tmp_path / "page.html").write_text(f"<html>{svg}</html>")
    add_classes(tab, "shape")
    tab.set_input_files('[data-class="shape"] [webkitdirectory]', tmp_path)
    until(tab, LEFT.format("shape", "7 of 7"))
    assert reasons(tab, "shape") == {
        "an SVG, a drawing without pixels; save it as PNG": "0.png, 1.svg, 2.png, 3.svg, 4.png, 5.svg",
        "a text, no picture": "page.html",
    }


@pytest.mark.parametrize("change", ["add", "rename", "files"])
@pytest.mark.parametrize("kind", ["files", "folder"])
def test_files_are_taken_although_the_cards_changed_while_they_were_chosen(
    kind: str,
    change: str,
    tab: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    add_classes(tab, "circle", "square")
    with tab.expect_file_chooser() as opened:
        tab.get_by_label(f"{kind.title()} of circle", exact=True).locator("..").click()
    if change == "add":
        add_classes(tab, "cross")
    elif change == "rename":
        tab.fill('[data-class="square"] [data-rename]', "box")
        tab.keyboard.press("Enter")
        tab.wait_for_selector('[data-class="box"]', timeout=WAIT)
    else:
        collect_pictures(tab, tmp_path, 2, "square")
        tab.wait_for_function("() => document.querySelector('#live').textContent.includes('2 of 2 files')")
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for number in range(3):
        picture("circle", 1, number).save(chosen / f"{number}.png")
    opened.value.set_files(chosen if kind == "folder" else sorted(chosen.iterdir()))
    until(tab, f"{FRAMES.format('circle')} === 3")


def test_the_list_of_left_out_files_stays_until_it_is_closed_or_the_frames_change(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "first", "second")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for number in range(6):
            picture("circle", 1, number).save(tmp_path / name / f"{number}.png")
        (tmp_path / name / f"{name}.txt").write_text("notes")
        tab.set_input_files(f'[data-class="{name}"] [webkitdirectory]', tmp_path / name)
        until(tab, LEFT.format(name, "1 of 7"))
    tab.click('[data-class="first"] [data-show]')
    until(tab, "document.querySelectorAll('[data-frame]').length === 6")
    tab.fill('[data-class="first"] [data-rename]', "renamed")
    tab.keyboard.press("Enter")
    tab.wait_for_selector('[data-class="renamed"]', timeout=WAIT)
    tab.click("#teach-fit")
    tab.wait_for_selector("#teach-accuracy", timeout=WAIT)
    assert reasons(tab, "renamed") == {"a text, no picture": "first.txt"}
    assert reasons(tab, "second") == {"a text, no picture": "second.txt"}
    tab.click('[data-class="second"] [data-close]')
    assert tab.locator("[data-left]").count() == 1
    tab.click('[data-class="renamed"] [data-frame-index="0"]')
    until(tab, "document.querySelectorAll('[data-left]').length === 0")
