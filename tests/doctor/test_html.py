"""The diagnosis in a notebook: well-formed, escaped, without scripts, nothing left out."""

from dataclasses import replace
from html.parser import HTMLParser

from pellucid.doctor.html import page
from tests.doctor.told import healthy, ill


class Reader(HTMLParser):
    """Keep the text, with the tags that are open around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[tuple[int, str]] = []  # how many sections are around it
        self.feed(text)
        assert not self.open, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.said.append((self.open.count("section"), data))


def test_all_is_said_in_its_place() -> None:
    said = Reader(page(ill())).said
    assert (0, "2 causes and 2 consequences, found by 12 checks") in said
    assert [text for depth, text in said if depth == 1 and text in ("learning-rate", "duplicates")]
    assert {(2, "dead-units"), (2, "block.relu1"), (2, "0.667"), (3, "useless-maps")} <= {*said}
    assert {(1, "the steps are <large>"), (1, "\u22123")} <= {*said}
    assert any(depth == 1 and text.startswith("a tenth of the learning rate: loss") for depth, text in said)


def test_what_comes_from_outside_cannot_be_markup() -> None:
    assert "<large>" not in page(replace(ill(), notes=("so <large>",)))
    assert "<script" not in page(ill())
    assert "go slower &amp; start lower" in page(ill())


def test_notebooks_show_it_and_health_is_one_line() -> None:
    assert ill()._repr_html_() == page(ill())
    texts = [text for _, text in Reader(page(healthy())).said]
    assert texts[0] == "nothing wrong was found by 12 checks"
    assert len(texts) == 2  # and what was not asked


def test_of_a_consequence_neither_cause_nor_fix_is_said() -> None:
    said = [text for _, text in Reader(page(ill())).said]
    assert (said.count("cause"), said.count("fix")) == (2, 2)
    assert any("goes away with learning-rate" in text for text in said)
    assert not {"their bias fell", "see above"} & {*said}


def test_notes_stand_above_the_findings() -> None:
    said = [text for _, text in Reader(page(replace(ill(), notes=("nothing was trained",)))).said]
    assert said.index("nothing was trained") < said.index("learning-rate")
