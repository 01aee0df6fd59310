"""The JavaScript that draws the figures of a page: Vega, Vega-Lite and Vega-Embed, as one text."""

import subprocess
import sys
from functools import cache

VEGA_LITE = "6.4"
_PROGRAM = f"import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle(vl_version={VEGA_LITE!r}))"
SECONDS = 120
"""After which a process that does not answer is given up."""


@cache
def javascript() -> str | None:
    """Give the libraries; None where they cannot be had.

    They come out of vl-convert, which needs no network. But it holds a JavaScript engine that takes 140 MB, claims
    64 GB of address space, and ends its process where that is limited, as on some clusters. So it works in a process
    of its own.
    """
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and a program that nobody else writes
            [sys.executable, "-c", _PROGRAM], capture_output=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # Inside a page the text must not end the element that it stands in.
    return done.stdout.decode().replace("</script", "<\\/script").replace("<!--", "<\\!--")
