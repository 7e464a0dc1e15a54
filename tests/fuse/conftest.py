"""Settings of the tests of fused forms."""

import pytest

from pellucid.fuse import plan


@pytest.fixture(autouse=True)
def recompute_small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recompute activations before narrow convolutions too, since the networks of these tests are small."""
    monkeypatch.setattr(plan, "MIN_RECOMPUTED", 0)
