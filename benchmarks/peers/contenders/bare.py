"""The least that works: requests as vLLM's documentation shows them, and no more."""

import json

import httpx


async def run(job):
    return await _loop(job, "auto")


async def required(job):
    """A first turn that must call: what vLLM's own grammar does for a client that knows that a call is wanted."""
    return await _loop(job, "required")


async def _loop(job, choice):
    tools = [{"type": "function", "function": tool} for tool in job.tools]
    names = {tool["name"] for tool in job.tools}
    messages = [{"role": "system", "content": job.system}, {"role": "user", "content": job.task}]
    async with httpx.AsyncClient(base_url=job.base_url, timeout=None, trust_env=False) as client:
        while True:
            body = {"model": job.model, "messages": messages, "tools": tools, "tool_choice": choice}
            response = await client.post("/chat/completions", json=body)
            response.raise_for_status()
            choice, message = "auto", response.json()["choices"][0]["message"]
            messages.append(message)
            if not message.get("tool_calls"):
                return message["content"]
            for call in message["tool_calls"]:
                content = await _result(job, names, call["function"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})


async def _result(job, names, function):
    if function["name"] not in names:
        return f"There is no tool {function['name']!r}."
    try:
        return await job.call_async(function["name"], json.loads(function["arguments"]))
    except ValueError as error:
        return f"The arguments are no JSON: {error}"
