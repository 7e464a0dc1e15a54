"""Modules of masks can be the first import of a process."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("module", ["folder", "mask_checks", "mask_classes", "mask_colours", "masks"])
def test_a_module_of_masks_is_imported_first(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import pellucid.data.{module}"], check=True)
