"""The least that mends code: all files and what the tests say in the prompt, whole files in the answer, and again."""

import re

import httpx

ROUNDS = 5
FILE = re.compile(r"^[#*` ]*([\w./-]+\.\w+)[*`: ]*\n+```[\w+-]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SYSTEM = (
    "You mend code. Answer with each file that you change, as a whole: its path on a line of its own, then its new "
    "content in a fenced block. Leave out files that stay as they are."
)


async def run(job):
    shown = "\n\n".join(f"{path}\n```\n{text}```" for path, text in job.files.items())
    told = f"{job.task}\n\nThe files:\n\n{shown}\n\n{_said(job.bash(job.test))}"
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": told}]
    async with httpx.AsyncClient(base_url=job.base_url, timeout=None, trust_env=False) as client:
        for _ in range(ROUNDS):
            response = await client.post("/chat/completions", json={"model": job.model, "messages": messages})
            response.raise_for_status()
            answer = response.json()["choices"][0]["message"]["content"] or ""
            written = dict(FILE.findall(answer))
            status, output = job.bash(_writing(written) + job.test) if written else (1, "")
            if status == 0:
                break
            back = _said((status, output)) if written else "There was no file in your answer."
            messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": back}]
    return answer


def _said(ran):
    return f"The tests end with exit code {ran[0]}:\n```\n{ran[1]}\n```"


def _writing(files):
    """A command that writes them."""
    return f"""python - <<'END_OF_PROGRAM'
from pathlib import Path
for path, text in {files!r}.items():
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
END_OF_PROGRAM
"""
