"""Why a vLLM server ended: its log's words, a likely cause, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple


class Cause(NamedTuple):
    pattern: str
    cause: str
    remedy: str


CAUSES = (
    Cause(
        r"unrecognized arguments|error: argument|invalid choice|KeyError: 'invalid \w+ parser",
        "vLLM does not know one of its flags",
        "check --flag values and the profile's server_flags",
    ),
    Cause(
        r"[Aa]ddress already in use",
        "another program took the port meanwhile",
        "run it again without --port",
    ),
    Cause(
        r"torchvision::nms does not exist",
        "torchvision is built for another torch",
        "delete the engine folder (fastslow doctor) and run `fastslow up` (vllm-project/vllm/issues/15372)",
    ),
    Cause(
        r"(?i)no available memory for the cache|larger than the available KV cache|KV cache is needed"
        r"|not enough.{0,40}KV cache",
        "there is too little memory for the key-value cache of one full context",
        "free memory, choose a smaller model, or shorten the context (--max-model-len)",
    ),
    Cause(
        r"(?i)out of memory|OutOfMemoryError|can't allocate memory|cannot allocate memory|MemoryError"
        r"|less than desired GPU memory utilization",
        "memory ran out",
        "stop other programs or choose a smaller model (fastslow models)",
    ),
    Cause(
        r"No space left on device",
        "the disk (or /dev/shm) is full",
        "free some space and run it again",
    ),
    Cause(
        r"not supported for now|are not supported|does not recognize this architecture"
        r"|no vLLM implementation",
        "this vLLM does not know the model's architecture",
        "choose another model (fastslow models)",
    ),
    Cause(
        r"(?i)SafetensorError|header too large|incomplete ?metadata|MetadataIncompleteBuffer"
        r"|Cannot find any model weights|is not there in the (model|state)",
        "the weights are damaged or are not those of this model",
        "delete the model's folder and fetch it again (fastslow up)",
    ),
    Cause(
        r"ModuleNotFoundError|ImportError|undefined symbol|Illegal instruction",
        "the engine environment is broken or built for another processor",
        "delete the engine folder (fastslow doctor) and run `fastslow up`",
    ),
)


def explain_death(status: int, log: str, where: str) -> str:
    """One sentence on a server that ended. `status`: exit status, negative for a signal. `where`: the log."""
    cause, remedy = _likely(status, log)
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"the model server {how}, most likely because {cause}; {remedy}. Its log: {where}"


def _likely(status: int, log: str) -> tuple[str, str]:
    for known in CAUSES:
        if re.search(known.pattern, log):
            return known.cause, known.remedy
    if status == -9:
        return "the system ran out of memory and killed it", "stop other programs or choose a smaller model"
    errors = re.findall(r"(?<!\w)\w{0,100}(?:Error|Exception): .+", log)
    if errors:
        return f"of this: {errors[-1][:300]}", "see the log for what led to it"
    return "of something its log does not say", "see the log"
