"""LangGraph: a graph of one node, a thread a row, and the SQLite checkpointer, which knows what is done. The lines are
written anew at each start, from the threads."""

import asyncio
from typing import Literal

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field
from table import TASK, Output, arguments, read_rows
from typing_extensions import TypedDict


class Answer(BaseModel):
    urgency: Literal["now", "today", "later"] = Field(description="how soon somebody must act")
    why: str = Field(description="in a few words")


class State(TypedDict, total=False):
    text: str
    output: dict


async def main() -> None:
    url, folder, at_once = arguments()
    free = asyncio.Semaphore(at_once)
    model = ChatOpenAI(model="m", base_url=url, api_key="none", temperature=0, max_tokens=1024)
    typed = model.with_structured_output(Answer, method="json_schema")

    async def classify(state: State) -> State:
        answer = await typed.ainvoke([("system", TASK), ("human", state["text"])])
        return {"output": answer.model_dump()}

    builder = StateGraph(State)
    builder.add_node("classify", classify)
    builder.add_edge(START, "classify")
    builder.add_edge("classify", END)
    (folder / "out.jsonl").unlink(missing_ok=True)
    output = Output(folder)
    async with AsyncSqliteSaver.from_conn_string(str(folder / "kept/checkpoints.sqlite")) as saver:
        graph = builder.compile(checkpointer=saver)

        async def ask(name: str, text: str) -> None:
            config = {"configurable": {"thread_id": name}}
            async with free:
                state = (await graph.aget_state(config)).values
                if "output" not in state:
                    state = await graph.ainvoke(None if state else {"text": text}, config)
            output.add(name, state["output"])

        async with asyncio.TaskGroup() as group:
            for name, text in read_rows(folder):
                group.create_task(ask(name, text))


asyncio.run(main())
