"""The view Inspect: a model as a ledger of its layers, with filters, feature maps, histograms and gradients."""

from pathlib import Path

from pellucid.studio.inspect.session import HANDLERS, InspectSession
from pellucid.studio.view import View

INSPECT = View("inspect", "Inspect", Path(__file__).parent / "page", InspectSession, HANDLERS)
