"""Settings of the whole suite."""

import os

# As the command line does: threads that spin while they wait hold up the others (cli/main.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
