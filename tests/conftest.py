"""Settings of the whole suite."""

import os

import anndata
from hypothesis import Phase, settings

# As the command line does: threads that spin while they wait hold up the others (cli/main.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Tests look into files by name, so text is stored in one form; `test_smoke.py` has it as users do.
anndata.settings.allow_write_nullable_strings = False

# A busy machine is no fault of the code: no example has a deadline.
settings.register_profile("suite", deadline=None)
# For `make mutation`, where nobody reads the example that fails: it is not made smaller, and not kept.
settings.register_profile(
    "mutation", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("suite")
