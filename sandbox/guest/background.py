"""What outlives the call that started it: processes that serve the next calls, and what they say meanwhile."""

import collections

import processes
from streams import PIPE

KEPT = 8000  # bytes: a traceback, or the last requests of a server
PIPES = 32  # that are read at the same time; whoever writes to an older one gets an error
PAUSE = 0.05  # seconds; a flood waits that long for each pipeful, and so leaves the processor to others
CROWDED = b"[there were too many processes: all that ran in the background was ended]\n"


class Overheard:
    """What was said in the background of one session since its last call: the tail."""

    def __init__(self):
        self.tail, self.total = bytearray(), 0

    def add(self, data):
        self.total += len(data)
        self.tail += data
        del self.tail[:-KEPT]

    def tell(self, stream):
        """Add it, once, to what a call itself said to this stream."""
        if self.total:
            missing = self.total - len(self.tail)
            note = f"[… {missing:,} bytes were left out …]\n" if missing else ""
            line = b"" if stream.ends_line() else b"\n"
            stream.take(b"%s[said in the background:]\n%s%s" % (line, note.encode(), self.tail))
            self.tail, self.total = bytearray(), 0


class Background:
    """Knows whose each process is, and ends those that must.

    sessions and children: the supervisor's, by number and by pid.
    """

    def __init__(self, loop, sessions, children):
        self.loop, self.sessions, self.children = loop, sessions, children
        self.begins = collections.deque(maxlen=64)  # ticks, of the last calls
        self.refusals = processes.Refusals()
        self.refused = self.refusals.count()
        self.streams = collections.deque()

    # -- processes

    def roots(self):
        """The pids by which we know whose a process is: our children's, and those of commands that are over."""
        return self.children.keys() | {pid for session in self.sessions.values() for pid in session.shells}

    def end_strays(self, execution):
        """Kill what this call has started, be it its child's or nobody's by now; not the child, nor what was there."""
        pid = execution.child.pid
        begun, spared = execution.begun, self.roots() - {pid}
        processes.sweep(self.roots, spared, self.loop, pid, since=begun, until=self.next_begin())

    def end_all(self, session):
        """Kill what no call waits for, and have this session's next outcome say so."""
        waited_for = [child.pid for child in self.children.values() if child.execution and child.session is not session]
        processes.sweep(self.roots, waited_for, self.loop, *self.children, until=self.next_begin())
        self.refused = self.refusals.count()
        if not session.overheard.tail.endswith(CROWDED):
            session.overheard.add(CROWDED)

    def crowded(self):
        """Whether a process was refused for want of room since all was ended."""
        return self.refusals.count() > self.refused

    def next_begin(self):
        """A function that tells when the first call after now began, should there be one by then."""
        now = processes.now()
        return lambda: min((tick for tick in self.begins if tick >= now), default=processes.EVER)

    # -- outputs

    def keep(self, child):
        """A child is over: where somebody else writes to its outputs, read them on, until the last one is gone.

        Without a reader they would be held up, or killed by SIGPIPE.
        """
        kept = [stream for stream in child.streams if stream.open] if child.session in self.sessions.values() else []
        for stream in kept:
            child.streams.remove(stream)
            stream.start()
            self.streams.append(stream)
            self.read(stream, child.session.overheard)
        while len(self.streams) > PIPES:
            self.drop(self.streams[0])

    def read(self, stream, overheard):
        def heard(_mask):
            data = stream.pull()
            overheard.add(data or b"")
            if not stream.open:
                self.drop(stream)
            elif data and len(data) >= PIPE:
                self.loop.unwatch(stream.fd)
                self.loop.at(stream, PAUSE, lambda: self.loop.watch(stream.fd, heard))

        self.loop.watch(stream.fd, heard)

    def drop(self, stream):
        self.streams.remove(stream)
        self.loop.cancel(stream)
        self.loop.unwatch(stream.fd)
        stream.close()
