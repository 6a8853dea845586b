"""One contender in its own environment: requests as JSON lines on stdin, answers as JSON lines on stdout.

    python serve.py <file with a class Contender> <its distributions…>

Times are taken here, so that what the driver and its pipe cost is in none of them. Standard library only.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from typing import Any


async def _act(contender: Any, request: dict[str, Any]) -> str:
    if request["op"] == "start":
        await contender.start(request["image"])
    elif request["op"] == "stop":
        await contender.stop()
    else:
        # `limit` is when we give up, which is later than `seconds`, the deadline that the contender is to keep.
        return str(await asyncio.wait_for(contender.run(request["code"], request["seconds"]), request["limit"]))
    return ""


async def _answer(contender: Any, request: dict[str, Any]) -> dict[str, Any]:
    output, error = "", ""
    began = time.perf_counter()
    try:
        output = await _act(contender, request)
    except TimeoutError:
        error = "timeout"
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"[:300]
    ended = time.perf_counter()
    return {"began": began, "seconds": ended - began, "bytes": len(output), "head": output[:200], "error": error}


async def _serve(path: str, distributions: list[str]) -> None:
    # Libraries print; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("contender", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    contender = module.Contender()

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    say({"versions": [f"{name} {importlib.metadata.version(name)}" for name in distributions]})
    while line := await asyncio.to_thread(sys.stdin.readline):
        say(await _answer(contender, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2:]), debug=False)
