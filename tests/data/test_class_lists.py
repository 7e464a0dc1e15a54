"""Changed lists of the classes of masks are read or refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.base.errors import PellucidError
from pellucid.data.mask_classes import read_class_list
from pellucid.data.tree import open_tree

LISTS = {
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,0::\ncell:128,0,0::\n",
    "label_colors.txt": "64 128 64\tAnimal\n192 0 128 Archway\n0 0 0 Void\n",
    "class_dict.csv": 'name,r,g,b\nsky,0,0,0\n"a, b",128,0,0\n',
    "_classes.csv": "Pixel Value, Class\n0, background\n1, cabinet\n",
    "classes.txt": "128,0,0: sky\n0,0,0: bird\n",
}


@pytest.mark.parametrize("name", LISTS)
@given(data=st.data())
def test_changed_lists_raise_only_pellucid_errors(tmp_path_factory, name, data):
    content = bytearray(LISTS[name].encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("set", numbered=True)
    (folder / name).write_bytes(bytes(content))
    with open_tree(folder) as tree, suppress(PellucidError):
        found = read_class_list(tree, "")
        assert len(found.values) < 256
        assert all(0 <= value < 256 for value in found.values)
        assert all(0 <= part < 256 for colour in found.colours for part in colour)
