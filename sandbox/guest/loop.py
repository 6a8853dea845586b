"""One loop of events: descriptors, timers, and long work in steps."""

import contextlib
import selectors
import time

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Loop:
    """Calls `action(mask)` for descriptors and `action()` for timers; one timer for each key.

    others: `others(key, mask)` is called for what somebody else registered with the selector.
    """

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = {}  # key -> (when, action)
        self.jobs = []  # generators
        self.others = None

    def watch(self, fd, action):
        self.selector.register(fd, READ, action)

    def unwatch(self, fd):
        with contextlib.suppress(KeyError):
            self.selector.unregister(fd)

    def want_to_write(self, fd, wanted):
        """Have the action of a watched descriptor called when it takes data, too."""
        events = READ | WRITE if wanted else READ
        with contextlib.suppress(KeyError, ValueError):  # not watched any more, or closed
            key = self.selector.get_key(fd)
            if key.events != events:
                self.selector.modify(fd, events, key.data)

    def at(self, key, seconds, action):
        self.timers[key] = time.monotonic() + seconds, action

    def postpone(self, key, seconds):
        """Have a timer wait anew, if there is one."""
        if key in self.timers:
            self.at(key, seconds, self.timers[key][1])

    def cancel(self, key):
        self.timers.pop(key, None)

    def do(self, job):
        """Run a generator to its end, a step each turn."""
        self.jobs.append(job)

    def turn(self):
        """Wait for what comes first, and see to it."""
        for key, mask in self.selector.select(self.patience()):
            if self.selector.get_map().get(key.fd) is not key:
                continue  # an earlier event saw to it
            if callable(key.data):
                key.data(mask)
            else:
                self.others(key, mask)
        now = time.monotonic()
        for key, (when, action) in list(self.timers.items()):
            if when <= now and self.timers.pop(key, None):
                action()
        for job in list(self.jobs):
            if next(job, self) is self:
                self.jobs.remove(job)

    def patience(self):
        if self.jobs:
            return 0
        if not self.timers:
            return None
        return max(0.0, min(when for when, _ in self.timers.values()) - time.monotonic())
