"""One conversation of an editor: its prompts are runs on a copy of the project, in one warm sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from acp import RequestError
from acp.schema import (
    AllowedOutcome,
    PermissionOption,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
)

from fastslow.agent.agent import Agent
from fastslow.agent.approval import Answer, Question
from fastslow.agent.changes import ChangeSet
from fastslow.agent.conversation import Conversation
from fastslow.agent.errors import AgentError
from fastslow.agent.events import Exit, Result, RunFinished, RunStarted
from fastslow.agent.modes import Think
from fastslow.agent.quoting import without_controls
from fastslow.agent.surfaces.acp.offer import offered
from fastslow.agent.surfaces.acp.parts import Before, content, fenced, one_line, title
from fastslow.agent.surfaces.acp.projection import State, Update, message, pending, updates
from fastslow.agent.surfaces.acp.sessions import session_key, text_before
from fastslow.agent.tree.changes import Change
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import SandboxError

if TYPE_CHECKING:
    from acp import Client

StopReason: TypeAlias = Literal["end_turn", "max_turn_requests", "cancelled"]
SPEEDS: Mapping[str, Think] = {"auto": "auto", "think": "always", "fast": "never"}
ANSWER_SECONDS = 600.0  # that a question waits for an answer
FAILED = -32603
BUSY = -32600
ONCE, ALWAYS, NO = "allow_once", "allow_always", "reject_once"
NOBODY = f"Nobody answered in the editor within {ANSWER_SECONDS / 60:.0f} minutes, which counts as a no."
CLOSED = "The question was closed in the editor without an answer, which counts as a no."
UNABLE = "The editor could not put the question, which counts as a no: {}."


class Session:
    """session_id: what the editor calls it. root: the project, absolute. test: see `Tree`. follows: the run that the
    next prompt goes on from, `""` for none. runs: how many were begun. speed: of `SPEEDS`. told: what the user should
    know before anything else."""

    def __init__(
        self,
        session_id: str,
        root: str,
        agent: Agent,
        editor: Client,
        test: str | None = None,
        follows: str = "",
        runs: int = 0,
        told: str = "",
    ) -> None:
        self.id = session_id
        self.root = root
        self.speed = "auto"
        self._agent = agent
        self._editor = editor
        self._tree = Tree(root, test)
        self._follows = follows
        self._runs = runs
        self._told = told
        self._state = State(root)
        self._talk: Conversation | None = None
        self._turn: asyncio.Task[StopReason] | None = None
        self._waiting: asyncio.Queue[Update | None] = asyncio.Queue()
        self._applies = False  # without a question, as the user wants it
        self._refused: tuple[Change, ...] = ()  # not asked about again before there are others
        self._questions = 0

    # --- what the editor asks for ----------------------------------------------------------------

    async def prompt(self, words: Callable[[], Awaitable[str]]) -> StopReason:
        """Carry a task out; what happens is told meanwhile. words: the task. RequestError where it could not begin."""
        if self._turn and self._turn.cancelling():
            await asyncio.wait([self._turn])
        if self._turn and not self._turn.done():
            raise RequestError(BUSY, "a prompt of this session is being carried out; cancel it, or wait for its end")
        turn = self._turn = asyncio.create_task(self._carry_out(words))
        try:
            await asyncio.wait([turn])
        finally:
            self.cancel()  # where we are cancelled ourselves
        return "cancelled" if turn.cancelled() else turn.result()

    def cancel(self) -> None:
        """End the prompt that is being carried out; the session goes on."""
        if self._turn and not self._turn.done() and not self._turn.cancelling():
            self._turn.cancel()

    async def aclose(self) -> None:
        """End what goes on, and give the sandbox back."""
        if self._turn and not self._turn.done():
            self.cancel()
            await asyncio.wait([self._turn])
        await self._end_talk()

    # --- a prompt --------------------------------------------------------------------------------

    async def _carry_out(self, words: Callable[[], Awaitable[str]]) -> StopReason:
        sender = asyncio.create_task(self._send())
        try:
            task = await words()
            if self._told:
                self._put(message(f"{self._told}\n\n", f"{self.id}-told"))
                self._told = ""
            result = await self._run(task)
            await self._offer(result)
        except (AgentError, SandboxError, OSError) as error:
            raise RequestError(FAILED, one_line(str(error) or type(error).__name__, 1000)) from error
        finally:
            self._waiting.put_nowait(None)
            await sender
        return "max_turn_requests" if result.exit is Exit.BUDGET else "end_turn"

    async def _run(self, task: str) -> Result:
        if self._talk and self._talk.last != self._follows:  # the last run has no end that a task could follow
            await self._end_talk()
        if self._talk is None:
            follows = self._follows or None
            self._talk = self._agent.conversation(tree=self._tree, after=follows, ask=self._ask)
        key = "" if self._follows else session_key(self.id, self._runs)
        async with aclosing(self._talk.stream(task, think=SPEEDS[self.speed], key=key)) as events:
            async for event in events:
                if isinstance(event, RunStarted):
                    self._runs += 1
                    self._state = State(self.root, self._agent.engine.context, self._text_before(event.run))
                self._put(*updates(event, self._state))
                if isinstance(event, RunFinished):
                    self._follows = event.result.run
                    result = event.result
        return result

    async def _end_talk(self) -> None:
        if self._talk:
            await self._talk.__aexit__()
            self._talk = None

    def _text_before(self, run: str) -> Before:
        journal = self._agent.journal
        return partial(text_before, journal.path, run) if journal else lambda _: None

    async def _send(self) -> None:
        """Tell the editor what waits, in order, to the end; where it has gone away, nobody."""
        gone = False
        while (update := await self._waiting.get()) is not None:
            if not gone:
                try:
                    await self._editor.session_update(self.id, update)
                except ConnectionError:
                    gone = True
            self._waiting.task_done()
        self._waiting.task_done()

    def _put(self, *told: Update) -> None:
        for update in told:
            self._waiting.put_nowait(update)

    # --- questions -------------------------------------------------------------------------------

    async def _ask(self, question: Question) -> Answer:
        """A question about a call. The editor knows it already, or is told of it first: of calls that code makes."""
        head = title(question.tool, question.arguments)
        key = pending(self._state, question.branch, question.tool, question.arguments)
        own = key is None
        if key is None:
            self._questions += 1
            key = f"{self.id}:question-{self._questions}"
            self._put(
                ToolCallStart(session_update="tool_call", tool_call_id=key, title=head, kind="other", status="pending")
            )
        about = ToolCallUpdate(
            tool_call_id=key,
            title=head,
            status="pending",
            content=[content(one_line(question.reason, 500)), content(fenced(question.preview))],
        )
        allowed = False
        try:
            choice, note = await self._choice(about, "Allow, and the very same call again for this prompt")
            allowed = choice in (ONCE, ALWAYS)
        finally:
            if own:
                self._put(_ended(key, "completed" if allowed else "failed"))
        return Answer("allow" if allowed else "deny", always=choice == ALWAYS, note=note)

    async def _choice(self, about: ToolCallUpdate, always: str) -> tuple[str, str]:
        """Which option was taken, and what to say of that. All that waits is told before."""
        await self._waiting.join()
        options = [
            PermissionOption(option_id=ONCE, name="Allow", kind="allow_once"),
            PermissionOption(option_id=ALWAYS, name=always, kind="allow_always"),
            PermissionOption(option_id=NO, name="Reject", kind="reject_once"),
        ]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self._editor.request_permission(self.id, about, options)
        except TimeoutError:
            return NO, NOBODY
        except (RequestError, ConnectionError, ValueError) as error:  # the last one: of an answer that is none
            return NO, UNABLE.format(one_line(str(error)))
        if isinstance(response.outcome, AllowedOutcome):
            return response.outcome.option_id, ""
        return NO, CLOSED

    # --- changes ---------------------------------------------------------------------------------

    async def _offer(self, result: Result) -> None:
        """What the run changed goes into the user's folder, if the user wants it, in one piece."""
        if not result.changes or result.changes.changes == self._refused:
            return
        later = f"Look at it: `fastslow diff {result.run}`. Apply it: `fastslow apply {result.run}`."
        if result.exit is Exit.ANSWERED and (result.check is None or result.check.verdict == "green"):
            why = await self._applied(result.changes)
        else:
            why = "It is not proven to be right."
        if why is not None:
            told = "\n\n".join(filter(None, ["Nothing was written to the project.", why, later]))
            self._put(message(f"\n\n{told}", f"{result.run}-changes"))

    async def _applied(self, changes: ChangeSet) -> str | None:
        """Ask, and apply; what kept the changes out, None where they are in."""
        start = await asyncio.to_thread(offered, changes, self.root)
        self._put(start)
        status: Literal["completed", "failed"] = "failed"
        try:
            if not self._applies:
                about = ToolCallUpdate(**{name: value for name, value in start if name != "session_update"})
                choice, note = await self._choice(about, "Apply, and all later changes of this session")
                if choice not in (ONCE, ALWAYS):
                    self._refused = changes.changes
                    return note
                self._applies = choice == ALWAYS
            applying = asyncio.ensure_future(asyncio.to_thread(changes.apply))
            try:
                await asyncio.shield(applying)
            finally:  # a prompt that is cancelled meanwhile still says how this ended
                await asyncio.wait([applying])
                status = "failed" if applying.exception() else "completed"
        except (AgentError, OSError) as error:
            return fenced(without_controls(str(error)))
        finally:
            self._put(_ended(start.tool_call_id, status))
        return None


def _ended(key: str, status: Literal["completed", "failed"]) -> Update:
    return ToolCallProgress(session_update="tool_call_update", tool_call_id=key, status=status)
