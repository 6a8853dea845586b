"""What an editor sends, made words."""

from __future__ import annotations

from typing import Any

import pytest
from acp import RequestError
from acp.schema import (
    AudioContentBlock,
    BlobResourceContents,
    EmbeddedResourceContentBlock,
    ResourceContentBlock,
    TextContentBlock,
    TextResourceContents,
)

from fastslow.agent.surfaces.acp.prompts import ATTACHED, task_of

ROOT = "/home/user/project"


async def nothing(_: str) -> None:
    return None


def text(words: str) -> TextContentBlock:
    return TextContentBlock(type="text", text=words)


def link(uri: str) -> ResourceContentBlock:
    return ResourceContentBlock(type="resource_link", name="x", uri=uri)


def embedded(resource: Any) -> EmbeddedResourceContentBlock:
    return EmbeddedResourceContentBlock(type="resource", resource=resource)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"file://{ROOT}/src/a%20b.py", "See src/a b.py"),
        ("file:///etc/passwd", "See /etc/passwd (outside of the project, so not in the sandbox)"),
        (f"file://{ROOT}-other/a.py", f"See {ROOT}-other/a.py (outside of the project, so not in the sandbox)"),
        ("https://there.example/page", "See https://there.example/page"),
        ("file://[", "See file://["),
    ],
)
async def test_a_mention_is_a_name(uri: str, words: str) -> None:
    assert await task_of([text("See "), link(uri)], ROOT, nothing) == words


async def test_only_files_of_the_project_are_asked_of_the_editor() -> None:
    asked = []

    async def read(path: str) -> str:
        asked.append(path)
        return "held"

    blocks = [text("See "), link(f"file://{ROOT}/a.py"), link("file:///etc/passwd"), link(f"file://{ROOT}/../b.py")]
    task = await task_of(blocks, ROOT, read)
    assert asked == [f"{ROOT}/a.py"]
    assert task.endswith("a.py, as the editor holds it; it is not saved:\n```\nheld\n```")


async def test_what_is_embedded_comes_along_cut_and_fenced() -> None:
    resource = TextResourceContents(uri=f"file://{ROOT}/a.py", text="```\n" + "x" * (2 * ATTACHED))
    task = await task_of([text("Look")], ROOT, nothing) + await task_of([embedded(resource)], ROOT, nothing)
    assert task.startswith("Looka.py\n\na.py:\n````\n```\nx")
    assert len(task) < ATTACHED + 200


async def test_what_is_no_text_is_left_out_or_refused() -> None:
    blob = BlobResourceContents(uri=f"file://{ROOT}/a.bin", blob="AAAA")
    assert "(a.bin is no text, and was left out.)" in await task_of([embedded(blob)], ROOT, nothing)
    sound = AudioContentBlock(type="audio", data="", mime_type="audio/wav")
    with pytest.raises(RequestError, match="take the audio out"):
        await task_of([sound], ROOT, nothing)
    with pytest.raises(RequestError, match="got nothing"):
        await task_of([text(" \n")], ROOT, nothing)
