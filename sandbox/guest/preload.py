"""Imports the data stack before it is needed, out of everybody's way."""

import contextlib
import importlib
import select
import sys
import time

MODULES = ("numpy", "pandas", "matplotlib.pyplot", "IPython.core.interactiveshell")
DEFERENCE = 3  # seconds to pause for each second that others kept the processor from us
PAUSE = 0.1


class Preload:
    """Imports one module after the other, and within one gives way at each import that it causes in turn.

    Priorities do not do this: they count within one container only, and one that was lowered cannot be raised again
    without a privilege. So it pauses where it sees that others want the processor, and no longer once the host has
    something to say.
    """

    def __init__(self, host):
        self.host = host
        self.left = list(MODULES)
        self.wanted = False  # the host waits

    def step(self):
        """Import the next module; False when there was none left."""
        if not self.left:
            return False
        self.wanted = False
        self.look()
        sys.meta_path.insert(0, self)
        try:
            with contextlib.suppress(ImportError):
                importlib.import_module(self.left.pop(0))
        finally:
            sys.meta_path.remove(self)
        return True

    def look(self):
        self.wall, self.used = time.monotonic(), time.process_time()

    def find_spec(self, *_):
        """Asked as a finder at each import; it never finds anything."""
        lost = time.monotonic() - self.wall - (time.process_time() - self.used)
        if lost > 0.002 and not self.wanted:
            pause = min(PAUSE, DEFERENCE * lost)
            self.wanted = bool(select.select([self.host], [], [], pause)[0])
            self.look()
