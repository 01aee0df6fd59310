"""How much a command tells while it works; apart from what tells it, which takes a while to load."""

import enum

from .click_names import get_current_context


class Loudness(enum.Enum):
    """How much is told while work is under way."""

    QUIET = "quiet"
    USUAL = "usual"
    VERBOSE = "verbose"

    @classmethod
    def asked_for(cls) -> "Loudness":
        """Give what the command line that is being carried out asks for."""
        context = get_current_context(silent=True)
        return cls.USUAL if context is None else context.find_root().obj
