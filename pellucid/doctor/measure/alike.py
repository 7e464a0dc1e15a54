"""Units whose outputs go up and down together."""

import torch

from pellucid.doctor.measure.activity import Activity

MOST = 20_000  # about so many outputs of a unit, evenly spread, are enough to tell copies


def alike(seen: Activity, least: float) -> list[tuple[int, int]]:
    """Return (unit, an earlier one) for units whose outputs correlate by at least `least` with an earlier one's.

    The earlier one is itself like none before it, so that without the units named first nothing is left twice. Units
    that do not vary are like no other.
    """
    y = seen.y.transpose(0, 1).flatten(1)  # (U, N places)
    y = y[:, :: max(y.shape[1] // MOST, 1)].double()
    y = y - y.mean(1, keepdim=True)
    size = y.norm(dim=1)
    varies = size > 1e-6 * size.max()
    y = torch.where(varies[:, None], y / size.clamp(min=torch.finfo(y.dtype).tiny)[:, None], 0.0)
    related = (y @ y.t()).tolist()
    kept: list[int] = []
    found: list[tuple[int, int]] = []
    for unit, row in enumerate(related):
        if not bool(varies[unit]):
            continue
        twin = next((other for other in kept if row[other] >= least), None)
        if twin is None:
            kept.append(unit)
        else:
            found.append((unit, twin))
    return found
