"""Every target of `pellucid export` writes the files that it declares, and the command's help lists all targets."""

import pytest

from pellucid.cli.export import parser
from pellucid.combine import Sequential
from pellucid.export import TARGETS, TOLERANCE
from pellucid.layers import Conv2d, ReLU
from pellucid.model import Model


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_writes_its_files(name: str, tmp_path) -> None:
    target = TARGETS[name]
    model = Model(Sequential(conv=Conv2d(2, 3), relu=ReLU()), input_shape=(1, 8, 8))
    path = tmp_path / f"{target.stem('a-net')}{target.suffix}"
    assert target.write(model, path, None).difference <= TOLERANCE
    assert sorted(tmp_path.iterdir()) == sorted(target.files(path))
    assert path in target.files(path)


def test_the_help_lists_all_targets() -> None:
    text = " ".join(parser().format_help().split())
    assert f"--to FORMAT {' or '.join(TARGETS)} " in text
    assert f"with {' or '.join(target.suffix for target in TARGETS.values())}, in the current folder" in text
