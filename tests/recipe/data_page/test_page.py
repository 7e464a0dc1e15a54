"""The page as HTML: well-formed, self-contained, escaped and of bounded size; as text and as JSON."""

import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid.data import Arrays
from pellucid.recipe.data_page import DataPage
from pellucid.recipe.data_page.page import _histogram
from tests.pages import without_script

VOID = {"img", "meta", "br", "link", "path", "use", "rect", "line", "image", "circle"}
NASTY = "<script>alert('x')</script>\x1b[2J"


class Tags(HTMLParser):
    """The open tags, and the attributes that load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> DataPage:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 3, 64, 64), np.uint8)
    images, masks = torch.from_numpy(x), torch.from_numpy(rng.integers(0, 2, (60, 64, 64)))
    data = Arrays(images, masks, (NASTY, "other"))
    held_out = Arrays(images[:20] // 2, torch.zeros_like(masks[:20]), (NASTY, "other"))
    return pellucid.data_page(data, validation=held_out, name=NASTY)


def test_html_is_well_formed_self_contained_and_escaped(page: DataPage) -> None:
    for text in (without_script(page.html()), page._repr_html_()):
        assert NASTY[:8] not in text
        assert "\x1b" not in text
        tags = Tags()
        tags.feed(text)
        assert tags.open == []
        assert all(link.startswith(("data:image/png;base64,", "#")) for link in tags.loaded)


def test_faults_are_red_and_long_parts_are_folded(page: DataPage) -> None:
    text = page.html()
    assert page.faults
    assert text.count('class="warned"') == len(page.faults)
    assert text.count("<details>") >= 3
    assert 'name="viewport"' in text


def test_the_size_of_a_page_is_bounded(page: DataPage) -> None:
    assert sum(map(len, page.pictures.values())) <= 12
    assert len(page.html()) < 2_000_000


def test_text_and_json_have_the_same_numbers(page: DataPage) -> None:
    values = json.loads(json.dumps(page.to_json(), allow_nan=False))
    assert [line.split() for line in str(page).splitlines()][3] == ["examples", "60", "20"]
    assert values["parts"]["validation"]["traits"]["masks of a single class"]["total"] == 20
    assert [one["text"] for one in values["differences"]] == page.faults[: len(values["differences"])]


def test_inputs_that_are_no_images_have_no_pictures() -> None:
    rng = np.random.default_rng(0)
    page = pellucid.data_page(rng.random((50, 5), np.float32), rng.random((50, 1), np.float32))
    assert page.pictures == {"training": []}
    assert "no images" in page.html()


def test_objects_whose_sizes_differ_by_rounding_have_no_histogram() -> None:
    sizes = torch.tensor([24.0, 24.0]).nextafter(torch.tensor([24.0, 25.0]))
    assert _histogram({"training": sizes}, "size") is None
    assert _histogram({"training": torch.tensor([24.0, 24.01])}, "size") is not None
