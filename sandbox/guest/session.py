"""One line of state: an interpreter, and dormant copies of it."""

import os

from background import Overheard

CHECKPOINTS = 8  # the oldest goes


class Session:
    """What a host's session is here.

    serial: counts what changes the state; a standby made at the present one can take over.
    unsaved: seconds of runs since the last standby.
    changed: what became of the state since the last outcome, for the next one to say.
    shells: pids of commands that are over and left processes behind, which have that session id (setsid(2)).
    """

    def __init__(self, number):
        self.number = number
        self.interpreter = self.execution = self.standby = self.offered = None
        self.checkpoints = {}
        self.made = self.serial = 0
        self.standby_serial = -1
        self.unsaved = 0.0
        self.changed = "kept"
        self.overheard = Overheard()
        self.shells = set()

    def keep_shell(self, pid):
        """A command is over: remember it as long as something of it lives."""
        self.shells = {shell for shell in (*self.shells, pid) if group_lives(shell)}

    def children(self):
        return [child for child in (self.interpreter, self.standby, *self.checkpoints.values()) if child is not None]

    def keep_checkpoint(self, copy):
        """Its number."""
        self.made += 1
        self.checkpoints[self.made] = copy
        if len(self.checkpoints) > CHECKPOINTS:
            self.checkpoints.pop(min(self.checkpoints)).kill()
        return self.made

    def keep_standby(self, copy):
        """A copy of the present state, or None, takes the place of the older one."""
        if self.standby is not None:
            self.standby.kill()
        self.standby, self.unsaved = copy, 0.0
        self.standby_serial = self.serial

    def take_standby(self):
        """The copy that goes on where the interpreter has ended; None where there is none of the present state."""
        standby, self.interpreter, self.standby = self.standby, None, None
        if standby is not None and self.standby_serial != self.serial:
            standby.kill()
            return None
        return standby


def group_lives(pid):
    """Whether a process group still has a member. A command's is that of all it started, unless they left it."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True
