"""States that do not belong to the optimizer that is given them."""

from pellucid.errors import PellucidError
from pellucid.optim.base import Optimizer, State


def check_state(optimizer: Optimizer, state: State, names: tuple[str, ...]) -> None:
    """Require a state that holds what `names` says, as one does that `optimizer.init` made."""
    if state.keys() != set(names):
        held, wanted = (", ".join(sorted(found)) or "nothing" for found in (state, names))
        raise PellucidError(
            f"optimizer state: it holds {held}, not {wanted}, and so was made for other options than those of "
            f"{optimizer!r}; make one with its init"
        )
