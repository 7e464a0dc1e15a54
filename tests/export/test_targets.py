"""Every target of `pellucid export` writes the files that it declares, and the command's help lists all targets."""

import re
from pathlib import Path

import pytest

import pellucid.export
from pellucid.base.foreign import MODEL_ANSWERS
from pellucid.cli.export import ABOUT, parser
from pellucid.cli.main import GENERAL_COMMANDS
from pellucid.combine import Sequential
from pellucid.export import TARGETS, TOLERANCE
from pellucid.layers import Conv2d, ReLU
from pellucid.model import Model
from pellucid.training.arguments import OTHER_FORMATS
from tests.cli.test_names import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "how-to"


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_writes_its_files(name: str, tmp_path) -> None:
    target = TARGETS[name]
    model = Model(Sequential(conv=Conv2d(2, 3), relu=ReLU()), input_shape=(1, 8, 8))
    path = tmp_path / f"{target.file_stem('a-net')}{target.suffix}"
    for form in (target, target.whole):
        if form is not None:
            assert form.write(model, path, None).difference <= TOLERANCE
            assert sorted(tmp_path.iterdir()) == sorted(form.files(path))
            assert path in form.files(path)


def test_the_help_lists_all_targets() -> None:
    text = " ".join(parser().format_help().split())
    assert f"--to FORMAT {' or '.join(TARGETS)} " in text
    assert f"with {' or '.join(target.suffix for target in TARGETS.values())}, in the current folder" in text


@pytest.mark.parametrize("name", TARGETS)
def test_texts_about_all_formats_name_a_target(name: str) -> None:
    texts = {
        "ABOUT of pellucid/cli/export.py": ABOUT,
        '"export" in pellucid/cli/main.py': GENERAL_COMMANDS["export"],
        "pellucid/export/__init__.py": str(pellucid.export.__doc__),
        "docs/how-to/export.md": (PAGES / "export.md").read_text(encoding="utf-8").splitlines()[0],
    }
    for file, line in {"docs/architecture.md": r"\| `export`.*", "mkdocs.yml": "- Export to .*:"}.items():
        texts[file] = " ".join(re.findall(line, (ROOT / file).read_text(encoding="utf-8")))
    for page in ("README.md", "docs/features.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        texts[page] = " ".join(re.findall(r"xport[^.;|]*", " ".join(text.split())))
    commands = {
        '"export" in pellucid/base/foreign.py': (MODEL_ANSWERS["export"], f"to_{name}("),
        "COMMANDS of tests/cli/test_names.py": (" ".join(COMMANDS), f"export {name}"),
        "docs/how-to/deploy.md": ((PAGES / "deploy.md").read_text(encoding="utf-8"), f"--to {name}`"),
        "OTHER_FORMATS of pellucid/training/arguments.py": (" ".join(OTHER_FORMATS.values()), f"to_{name}("),
    }
    wanted = {place: (text, TARGETS[name].title) for place, text in texts.items()} | commands
    assert [place for place, (text, words) in wanted.items() if words not in text] == [], f"name {name} in these texts"
