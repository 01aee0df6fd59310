"""Settings of the whole suite."""

import os

from hypothesis import settings

# As the command line does: threads that spin while they wait hold up the others (cli/main.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no fault of the code: no example has a deadline.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
