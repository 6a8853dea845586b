"""What runs inside the container: a supervisor, and the interpreters that it forks. Standard library only.

    host <-- frames --> supervisor <-- socket pair: frames --> interpreter --> its children
                             ^---------- pipes: stdout, stderr ----------'

The supervisor has the data stack imported before it forks, so an interpreter costs milliseconds. It is one loop of
events, waits for nothing else, and trusts the interpreters with nothing; but all are one user, so code that is bent
on it can kill the supervisor. Then the host sees the channel close, and all is over. The reverse holds too: when the
host goes, everything here goes.
"""

import contextlib
import functools
import gc
import json
import os
import shutil
import signal
import sys
import time

import notebook
import processes
from background import Background
from execution import Execution, outcome, sound
from files import Files
from forks import Fork, fresh_interpreter
from host import Host
from loop import READ, WRITE, Loop
from preload import Preload
from session import Session

GRACE = 0.05  # seconds from the interrupt to the kill
STARVED = 0.3  # the same where others of this machine left us no processor to end with
IDLE = 0.03  # seconds without a run before a standby is made
WORTH = 0.3  # seconds of work after which it is made at once: to lose them would cost more than the copy
BATCH = 1 << 18
PROXY = "http://127.0.0.1:3128"


class Supervisor:
    """Serves the host, a method `do_…` for each operation. Each session does one thing at a time, side by side."""

    def __init__(self, reader, writer, config):
        self.config = config
        self.host = Host(reader, writer)
        self.loop = Loop()
        self.files = Files(config["upload"], config["files"], config["disk"])
        self.preload = Preload(reader)
        self.sessions = {0: Session(0)}
        self.children = {}  # by pid
        self.background = Background(self.loop, self.sessions, self.children)
        self.drops = {}  # request -> the children whose end it waits for
        self.ooms = processes.oom_kills()
        self.egress = None
        self.loop.watch(reader, self.hear)
        # A handler, not SIG_IGN: that would be inherited by every program the code starts.
        for number in processes.SIGNALS:
            signal.signal(number, lambda *_: None)
        if config["proxy"]:
            from egress import Forwarder

            self.egress = Forwarder(self.loop.selector, self.host.send)
            self.loop.others = self.egress.ready

    def serve(self):
        self.host.send({"kind": "hello"})
        self.loop.at("preload", IDLE, self.load)
        while True:
            self.host.flush()
            self.loop.turn()

    def load(self):
        """Import a part of the data stack, until code runs: what is not there by then, it imports itself."""
        if any(session.interpreter for session in self.sessions.values()):
            return
        if any(session.execution for session in self.sessions.values()):  # a command: its deadline cannot wait
            self.loop.at("preload", IDLE, self.load)
        elif self.preload.step():
            self.loop.at("preload", 0, self.load)
        else:
            gc.collect()
            gc.freeze()
            self.equip(self.sessions[0])  # before it is asked for: the first run need not wait for the fork
            self.host.send({"kind": "ready"})

    def hear(self, _mask):
        for header, body in self.host.receive():
            if self.egress is not None and header["op"].startswith("net_"):
                self.egress.feed(header, body)
            else:
                getattr(self, f"do_{header['op']}")(header, body)

    # -- files

    def do_put(self, header, body):
        self.loop.postpone("preload", IDLE)  # a tree comes in many frames, and each would wait for an import
        with self.host.refusing(header):
            self.host.done(header["id"], modes=self.files.put(header["files"], body, header["tree"]))

    def do_abandon(self, _header, _body):
        self.files.abandon()

    def do_get(self, header, _body):
        with self.host.refusing(header):
            done, data = self.files.get(header["path"], header["offset"], header["length"])
            self.host.done(header["id"], data, **done)

    def do_files(self, header, _body):
        def listed():
            with self.host.refusing(header):
                for said in self.files.list(header["since"]):
                    if said is not None and "number" in said:
                        self.host.done(header["id"], **said)
                    elif said is not None:
                        self.host.send({"kind": "files", "id": header["id"], **said})
                    yield

        self.loop.do(listed())

    # -- running

    def idle_session(self, header):
        """The session that a request names; None, and a refusal, when it is not there or does something."""
        session = self.sessions.get(header["session"])
        if session is None or session.execution is not None:
            self.host.refuse(header["id"], f"session {header['session']} is not there, or busy")
            return None
        if self.background.crowded():
            self.background.end_all(session)
        return session

    def ready_session(self, header):
        """The same with an interpreter, which gets no standby now."""
        session = self.idle_session(header)
        if session is not None:
            self.loop.cancel(("standby", session))
            if session.interpreter is None:
                self.equip(session)
        return session

    def equip(self, session):
        child = self.begin(session, lambda: fresh_interpreter(self.config))
        self.watch(child)
        self.adopt(session, child)

    def do_run(self, header, body):
        session = self.ready_session(header)
        if session is not None:
            child = session.interpreter
            if child.noisy:  # what an earlier cell left running may have said more than was read
                for stream in child.streams:
                    self.drain(child, stream)
                child.noisy = False
            self.execute(header, session, child, processes.now())
            child.tell(self.loop, {"op": "run"}, body)

    def do_shell(self, header, body):
        session = self.idle_session(header)
        if session is None:
            return
        begun = processes.now()
        try:
            child = self.begin(session, lambda: processes.start_shell(body.decode(), self.config))
        except (OSError, ValueError) as error:  # the workspace's permissions are gone; a null byte
            said = outcome("error", error=f"bash did not start: {error}", exit_code=126)
            nothing = {"total": 0, "file": None, "saved": 0}
            self.host.done(header["id"], seconds=0, state="kept", stdout=nothing, stderr=nothing, **said)
            return
        self.watch(child)
        self.execute(header, session, child, begun)

    def execute(self, header, session, child, begun):
        def late():
            self.stop(execution, "timeout")

        execution = Execution(self.host, self.loop, self.config, session, child, header, begun, late)
        self.background.begins.append(begun)

    def do_interrupt(self, header, _body):
        for session in self.sessions.values():
            if session.execution is not None and session.execution.request == header["id"]:
                self.stop(session.execution, "interrupt")

    def stop(self, execution, why):
        """Ask it to end, and see to it that it does."""
        if execution.stopped:
            return
        execution.stopped = why
        child = execution.child
        child.interrupt(self.background.roots(), execution.begun)
        asked, used = time.monotonic(), processes.processor_time()

        def insist():
            starved = processes.processor_time() - used < GRACE / 2 and processes.runnable(child.pid)
            if starved and time.monotonic() - asked < STARVED:
                self.loop.at(execution, GRACE / 2, insist)
            else:
                self.background.end_strays(execution)
                child.kill()

        self.loop.at(execution, GRACE, insist)

    def finish(self, execution):
        """It replied or ended: tell the host."""
        child, session = execution.child, execution.session
        interpreter = child.control is not None
        oom = False
        if execution.stopped or (child.ended and interpreter):
            self.background.end_strays(execution)
            oom, self.ooms = processes.oom_kills() > self.ooms, processes.oom_kills()
        for stream in child.streams:
            self.drain(child, stream)
        session.overheard.tell(child.streams[1])
        done = execution.end(oom)
        state = "kept"
        if interpreter:
            if child.ended:
                self.recover(session)
            else:
                session.serial += 1
                session.unsaved += done["seconds"]
            state, session.changed = session.changed, "kept"
            self.rest(session)
        else:
            if not execution.stopped:
                session.keep_shell(child.pid)
            self.forget(child)
        self.host.done(execution.request, state=state, **done)

    def do_returned(self, header, body):
        for session in self.sessions.values():
            execution = session.execution
            if execution is not None and header["call"] in execution.calls:  # else what asked is over
                self.answer(execution.child, execution.returned(header["call"]), header["ok"], body)
                return

    def answer(self, child, number, ok, body):
        child.tell(self.loop, {"op": "returned", "call": number, "ok": ok}, body)

    # -- state

    def do_offer(self, header, body):
        session = self.ready_session(header)
        if session is not None:
            session.offered = body
            session.interpreter.tell(self.loop, {"op": "offer"}, body)
            self.host.done(header["id"])
            self.rest(session)

    def do_fork(self, header, _body):
        session = self.ready_session(header)
        if session is None:
            return

        def then(copy):
            new = self.sessions[header["new"]] = Session(header["new"])
            new.offered = session.offered
            self.adopt(new, copy)
            self.host.done(header["id"])
            self.rest(new)

        self.copy(header, session.interpreter, then)

    def do_checkpoint(self, header, _body):
        session = self.ready_session(header)
        if session is None:
            return

        def then(copy):
            self.host.done(header["id"], checkpoint=session.keep_checkpoint(copy))
            self.rest(session)

        self.copy(header, session.interpreter, then)

    def do_rollback(self, header, _body):
        session = self.idle_session(header)
        if session is None:
            return
        number = header["checkpoint"] or max(session.checkpoints, default=0)
        if number not in session.checkpoints:
            there = ", ".join(map(str, session.checkpoints)) or "none"
            self.host.refuse(header["id"], f"no checkpoint {number} to go back to; there are: {there}", "missing")
            return

        def then(copy):
            if session.interpreter is not None:
                self.discard(session.interpreter)
            self.adopt(session, copy)
            session.changed = "kept"
            self.host.done(header["id"])
            self.rest(session)

        self.loop.cancel(("standby", session))
        self.copy(header, session.checkpoints[number], then)

    def copy(self, header, child, then):
        """Answer a request that needs a copy: by `then(copy)`, or with a refusal."""

        def made(copy, why):
            if copy is None:
                self.host.refuse(header["id"], why)
            else:
                self.watch(copy)
                then(copy)

        Fork(self.loop, self.config, self.children, child, made)

    def do_drop(self, header, _body):
        session = self.sessions.pop(header["session"], None)
        ending = [] if session is None else session.children()
        if not ending:
            self.host.done(header["id"])
            return
        self.loop.cancel(("standby", session))
        if session.execution is not None:
            self.stop(session.execution, "interrupt")
        for child in ending:
            self.discard(child)
        for shell in session.shells:
            processes.end_family(self.background.roots() | {shell}, shell)
        self.drops[header["id"]] = ending  # answered when the last of them has made room

    def rest(self, session):
        """Nothing runs: time for a standby, unless something comes soon."""
        wait = IDLE if session.unsaved < WORTH else 0
        self.loop.at(("standby", session), wait, lambda: self.stand_by(session))

    def stand_by(self, session):
        """Make the copy that takes over if the next run has to be killed; a large or threaded one is not copied."""
        child, serial = session.interpreter, session.serial
        if child is None or (session.standby is not None and session.standby_serial == serial):
            return
        if child.threads or processes.resident(child.pid) - child.base > self.config["memory"] // 4:
            session.keep_standby(None)
            return

        def then(copy, _why):
            if copy is not None:
                self.watch(copy)
            if self.sessions.get(session.number) is session and session.serial == serial:
                session.keep_standby(copy)
            elif copy is not None:
                copy.kill()

        Fork(self.loop, self.config, self.children, child, then)

    def recover(self, session):
        """The interpreter is gone: its standby takes over, or the next run gets a fresh one."""
        standby = session.take_standby()
        if standby is not None and session.changed != "lost":
            self.adopt(session, standby)
            session.changed = "restored"
        else:
            session.changed = "lost"
            if standby is not None:
                standby.kill()

    def adopt(self, session, child):
        session.interpreter, child.session = child, session
        session.serial += 1
        if session.offered is not None:
            child.tell(self.loop, {"op": "offer"}, session.offered)

    # -- children

    def begin(self, session, start):
        """Start a child, killing what runs in the background where it leaves no room for it."""
        for _ in range(20):
            with contextlib.suppress(BlockingIOError):
                return start()
            self.background.end_all(session)
            time.sleep(0.02)
        return self.host.leave()

    def watch(self, child):
        self.children[child.pid] = child
        child.on_end(self.loop, functools.partial(self.bury, child))
        for stream in child.streams:
            stream.action = functools.partial(self.forward, child, stream)
            self.loop.watch(stream.fd, stream.action)
        if child.control is not None:
            self.loop.watch(child.control, functools.partial(self.listen, child))

    def forward(self, child, stream, _mask=0):
        """Pass output on; what is said outside of a run is kept for the next one. False when there was none."""
        data = stream.pull()
        if not stream.open:
            self.loop.unwatch(stream.fd)
        if data and child.execution is not None:
            child.execution.take(stream, data)
        elif data and child.session is not None:
            child.session.overheard.add(data)
            child.noisy = True
        return bool(data)

    def drain(self, child, stream):
        """Read what the pipe holds; not for ever, since somebody may still be writing to it."""
        for _ in range(64):
            if not stream.open or not self.forward(child, stream):
                break

    def listen(self, child, mask):
        """What an interpreter says; one that speaks nonsense or out of turn is killed."""
        if mask & WRITE:
            child.push(self.loop)
        if not mask & READ:
            return
        try:
            data = child.control.recv(BATCH)
            if not data and child.execution is not None and not child.killed:
                self.loop.unwatch(child.control)  # it ends, or became another program: by its deadline at the latest
                return
            if not data or child.killed:
                raise ValueError("closed")
            for header, body in child.frames.feed(data):
                self.heard(child, header, body)
        except BlockingIOError:
            return
        except (OSError, ValueError, RecursionError):
            self.loop.unwatch(child.control)
            child.kill()

    def heard(self, child, header, body):
        kind, execution = header.get("kind"), child.execution
        if kind == "refused" and child.forks:
            child.forks[0].fail(str(header.get("text"))[:1000])
        elif kind == "done" and execution is not None and sound(header):
            execution.reply = header
            child.threads = header["threads"]
            self.finish(execution)
        elif kind == "display":  # a thread may be late with one
            if execution is not None:
                execution.display(header, body)
        elif kind == "call" and type(header.get("call")) is int and isinstance(header.get("name"), str):
            why = "nothing runs that could wait for an answer" if execution is None else execution.call(header, body)
            if why is not None:
                self.answer(child, header["call"], False, json.dumps(why).encode())
        else:
            raise ValueError("nonsense")

    def discard(self, child):
        """End an interpreter and what it started."""
        child.kill()
        if not child.ended:
            processes.end_family(self.background.roots(), child.pid)

    def bury(self, child):
        """A child ended: its output is read, then it is forgotten."""
        child.see_end()
        del self.children[child.pid]
        for fork in list(child.forks):
            fork.fail("the interpreter ended")
        if child.execution is not None:
            self.finish(child.execution)
        for session in self.sessions.values():
            if session.interpreter is child:
                self.recover(session)
            elif session.standby is child:
                session.standby = None
            session.checkpoints = {key: kept for key, kept in session.checkpoints.items() if kept is not child}
        if child.control is not None:
            self.forget(child)
        for request, ending in list(self.drops.items()):
            self.drops[request] = [other for other in ending if other is not child]
            if not self.drops[request]:
                del self.drops[request]
                self.host.done(request)

    def forget(self, child):
        for fd in (child.pidfd, child.control, *(stream.fd for stream in child.streams)):
            if fd is not None:
                self.loop.unwatch(fd)
        self.background.keep(child)
        child.close()


def main(reader, writer, config):
    """Serve the host on these descriptors until it goes."""
    processes.set_dumpable(0)
    sys.dont_write_bytecode = True
    notebook.import_nothing_of_the_works()
    notebook.let_pip_install()
    if config["proxy"]:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            os.environ[name] = PROXY
    fonts = "/opt/matplotlib"  # made with the image; matplotlib wants a folder that it can write
    if os.path.isdir(fonts):
        shutil.copytree(fonts, os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    Supervisor(reader, writer, config).serve()
