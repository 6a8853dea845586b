"""One line of state: an interpreter, and dormant copies of it."""

CHECKPOINTS = 8  # the oldest goes


class Session:
    """What a host's session is here.

    serial: counts what changes the state; a standby made at the present one can take over.
    unsaved: seconds of runs since the last standby.
    changed: what became of the state since the last outcome, for the next one to say.
    """

    def __init__(self, number):
        self.number = number
        self.interpreter = self.execution = self.standby = self.offered = None
        self.checkpoints = {}
        self.made = self.serial = 0
        self.standby_serial = -1
        self.unsaved = 0.0
        self.changed = "kept"

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
