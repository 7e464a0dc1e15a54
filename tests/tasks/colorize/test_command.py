"""`pellucid colorize`: files of all kinds, folders, videos, hints, and outputs that overwrite nothing else."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage.color import rgb2lab

from pellucid.data import load_image
from tests.pages import without_script
from tests.tasks.colorize.tiny import Flicker, Hinted

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (13, 17), dtype=np.uint8)


def lab(image):
    return rgb2lab(np.asarray(image)[..., :3] / 255)


def picture_of_kind(kind):
    """Return a picture, the suffix of its file, its sRGB values (H, W, 3) from 0 to 1, and its opacity or None."""
    colours, grey, alpha = Image.fromarray(COLOURS), Image.fromarray(GREY), None
    picture = colours
    if kind in ("grey", "grey and alpha"):
        picture = grey
    elif kind == "bilevel":
        picture = grey.convert("1")
    elif kind in ("palette", "palette and alpha"):
        picture = colours.quantize(50)
    elif kind == "cmyk":
        picture = colours.convert("CMYK")
    rgb = np.asarray(picture.convert("RGB")) / 255
    if kind in ("grey and alpha", "rgb and alpha"):
        picture, alpha = picture.copy(), ALPHA
        picture.putalpha(Image.fromarray(ALPHA))
    elif kind == "palette and alpha":
        picture.info["transparency"] = 7
        alpha = np.where(np.asarray(picture) == 7, 0, 255)
    elif kind == "16 bits":
        values = RNG.integers(0, 1 << 16, (13, 17)).astype(np.uint16)
        picture, rgb = Image.fromarray(values), np.repeat(values[..., None] / 65535, 3, 2)
    return picture, ".tif" if kind == "cmyk" else ".png", rgb, alpha


KINDS = (
    "grey", "grey and alpha", "rgb", "rgb and alpha", "16 bits", "bilevel", "palette", "palette and alpha", "cmyk",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_all_formats_are_colorized(kind, tmp_path, save, run):
    picture, suffix, rgb, alpha = picture_of_kind(kind)
    picture.save(tmp_path / f"a{suffix}")
    code, output, _ = run("colorize", save(), tmp_path / f"a{suffix}", "--out", tmp_path / "out")
    assert code == 0
    assert [picture["image"] for picture in output["pictures"]] == [f"a{suffix}"]
    with Image.open(tmp_path / "out" / "a-colorized.png") as result:
        assert result.mode == ("RGB" if alpha is None else "RGBA")
        pixels = np.asarray(result)
    assert np.abs(lab(pixels)[..., 0] - rgb2lab(rgb)[..., 0]).max() <= 0.5
    assert kind == "bilevel" or np.abs(lab(pixels)[..., 1:]).max() > 10  # black and white have no colours
    if alpha is not None:
        assert np.array_equal(pixels[..., 3], alpha)


@pytest.mark.parametrize("kind", ["grey", "grey and alpha"])
def test_strength_0_writes_the_pixels_of_the_grey_picture(kind, tmp_path, save, run):
    picture_of_kind(kind)[0].save(tmp_path / "a.png")
    run("colorize", save(), tmp_path / "a.png", "--out", tmp_path / "out", "--strength", 0)
    pixels = np.asarray(Image.open(tmp_path / "out" / "a-colorized.png"))
    assert np.array_equal(pixels[..., :3], np.repeat(GREY[..., None], 3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation, tmp_path, save, run):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        ImageOps.exif_transpose(turned).convert("RGB").save(tmp_path / "upright.png")
    model = save()
    for name in ("turned", "upright"):
        assert run("colorize", model, tmp_path / f"{name}.png", "--out", tmp_path / "out")[0] == 0
    actual, expected = (load_image(tmp_path / "out" / f"{name}-colorized.png") for name in ("turned", "upright"))
    assert torch.equal(actual, expected)
    assert (actual.shape[1] == 17) == (orientation > 4)


def test_a_corrupt_file_among_100_is_named_and_the_others_are_colorized(tmp_path, save, run):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(100):
        Image.fromarray(np.roll(GREY, number)).save(folder / f"{number:02d}.png")
    data = (folder / "42.png").read_bytes()
    (folder / "42.png").write_bytes(data[: len(data) // 2])
    code, output, err = run("colorize", save(), folder, "--out", tmp_path / "out")
    assert code == 2
    assert len(output["pictures"]) == len(list((tmp_path / "out").glob("*.png"))) == 99
    assert [row["image"] for row in output["skipped"]] == ["42.png"]
    assert "42.png is damaged" in err
    page = (tmp_path / "out" / "colorized.html").read_text()
    assert output["page"] == str(tmp_path / "out" / "colorized.html")
    assert "99 pictures, of which 24 are" in page
    assert page.count("<img") == 48
    without_script(page)


def test_the_static_parts_of_a_video_keep_their_colours(tmp_path, save, run):
    """A square moves over a static ground and becomes brighter; the model's colours depend on the mean lightness."""
    ground = RNG.integers(60, 180, (16, 20), dtype=np.uint8)
    frames = []
    for number in range(60):
        frame = ground.copy()
        frame[4:9, number % 15 : number % 15 + 5] = 3 * number + 50
        frames.append(frame)
    pictures = [Image.fromarray(frame).quantize(256) for frame in frames]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40)
    code, output, _ = run("colorize", save(Flicker), tmp_path / "a.gif", "--out", tmp_path / "out")
    assert code == 0
    assert len(output["pictures"]) == 60
    colorized = [np.asarray(Image.open(picture["file"])) for picture in output["pictures"]]
    for before, after, first, second in zip(frames, frames[1:], colorized, colorized[1:], strict=False):
        static = before == after
        assert np.abs(lab(first)[static][:, 1:] - lab(second)[static][:, 1:]).max() <= 1
    changed = [
        np.abs(lab(picture)[4:9, :, 1:].mean((0, 1)) - lab(colorized[0])[4:9, :, 1:].mean((0, 1))).max()
        for picture in colorized
    ]
    assert max(changed) > 3  # the colours of the square change


def test_hints_are_read_from_a_file(tmp_path, save, run):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((16, 21), 128, np.uint8)).save(folder / name)
    hint = {"x": 2, "y": 3, "color": "#a05050"}
    (tmp_path / "one.json").write_text(json.dumps([hint]))
    (tmp_path / "many.json").write_text(json.dumps({"b.png": [hint]}))
    model = save(Hinted)

    def colours(source, hints):
        out = tmp_path / f"by {hints}"
        assert run("colorize", model, source, "--out", out, "--hints", tmp_path / hints)[0] == 0
        return {file.name[0]: lab(Image.open(file)) for file in sorted(out.glob("*.png"))}

    expected = lab(np.array([[[0xA0, 0x50, 0x50]]], np.uint8))[0, 0, 1:]
    np.testing.assert_allclose(colours(folder / "a.png", "one.json")["a"][3, 2, 1:], expected, atol=1)
    colours_by_file = colours(folder, "many.json")
    np.testing.assert_allclose(colours_by_file["b"][3, 2, 1:], expected, atol=1)
    assert np.abs(colours_by_file["a"][3, 2, 1:] - expected).max() > 5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "is not JSON"),
        ("3", "contains 3 in place of a list of hints"),
        ('[{"x": 1, "y": 2}]', "contains the invalid hint {'x': 1, 'y': 2}; a hint is"),
        ('[{"x": 1.5, "y": 2, "color": "#000000"}]', "a hint is"),
        ('[{"x": -1, "y": 2, "color": "#000000"}]', "a hint is"),
        ('[{"x": 1, "y": 2, "color": "red"}]', "a hint is"),
        ('{"b.png": []}', "names 'b.png', which"),
        ('[{"x": 99, "y": 2, "color": "#000000"}]', "hint at x=99, y=2 is outside the picture of 13x17"),
    ],
)
def test_hints_that_do_not_fit_are_refused(text, reason, tmp_path, save, run):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "hints.json").write_text(text)
    code, _, err = run(
        "colorize", save(Hinted), tmp_path / "a.png", "--out", tmp_path / "out", "--hints", tmp_path / "hints.json"
    )
    assert code == 2
    assert reason in err
    assert not (tmp_path / "out").exists()


def test_hints_are_refused_for_a_folder_or_a_video(tmp_path, save, run):
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    (tmp_path / "hints.json").write_text("[]")
    for source, reason in (
        (tmp_path, "one list, which is for one image"),
        (tmp_path / "a.gif", "not for a video or a camera"),
    ):
        code, _, err = run(
            "colorize", save(Hinted), source, "--out", tmp_path / "o", "--hints", tmp_path / "hints.json"
        )
        assert code == 2
        assert reason in err


def test_only_files_written_by_the_command_are_overwritten(tmp_path, save, run):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    model = save()
    assert run("colorize", model, tmp_path / "a.png", "--out", tmp_path)[0] == 0
    assert run("colorize", model, tmp_path / "a.png", "--out", tmp_path)[0] == 0
    Image.fromarray(GREY).save(tmp_path / "a-colorized.png")
    code, _, err = run("colorize", model, tmp_path / "a.png", "--out", tmp_path)
    assert code == 2
    assert "a-colorized.png would be overwritten; give another output folder" in err
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a-colorized.png")), GREY)


@pytest.mark.parametrize(("words", "reason"), [(["--strength", "3"], "strength must be from 0"), ([], "is missing")])
def test_invalid_arguments_are_refused(words, reason, tmp_path, save, run):
    code, _, err = run("colorize", save(), tmp_path / "none.png", "--out", tmp_path / "out", *words)
    assert code == 2
    assert reason in err


def test_commands_for_classifiers_name_the_command_to_use(tmp_path, save, run):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    model = save()
    for command, hint in (("predict", "use `pellucid colorize`"), ("explain", "with --pixel ROW,COLUMN")):
        code, _, err = run(command, model, tmp_path / "a.png")
        assert code == 2
        assert hint in err
    code, _, err = run("segment", model, tmp_path / "a.png", "--out", tmp_path / "out")
    assert code == 2
    assert "not a class for each pixel" in err


@pytest.mark.long
@pytest.mark.real  # takes about ten seconds
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_a_large_picture_takes_less_than_2_gb(tmp_path, save):
    rows, columns = np.mgrid[:3000, :4000]
    photo = np.stack([rows // 12 % 256, columns // 16 % 256, (rows + columns) // 20 % 256], -1).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.jpg", quality=90)
    code = (
        "import re, sys; from pathlib import Path; from pellucid.cli.main import main; assert main(sys.argv[1:]) == 0; "
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])"  # peak memory
    )
    arguments = ["colorize", save(), str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out")]
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert int(process.stdout.splitlines()[-1]) * 1024 < 2e9
    pixels = np.asarray(Image.open(tmp_path / "out" / "a-colorized.png"))[::7, ::7]
    original = np.asarray(Image.open(tmp_path / "a.jpg"))[::7, ::7]
    assert np.abs(lab(pixels)[..., 0] - lab(original)[..., 0]).max() <= 0.5
