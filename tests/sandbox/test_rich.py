"""What a notebook shows, in a real container: MIME bundles, figures, magics; and what code calls home for."""

import asyncio
from typing import Any

import pytest

from fastslow.sandbox import DockerSandbox, DockerSession, Limits
from fastslow.sandbox.sandbox import Display, Execution, HostFunction

pytestmark = pytest.mark.docker

WIDE = Limits(seconds=60)


@pytest.fixture
async def wide(client: object) -> Any:
    """A session with room for the data stack."""
    sandbox = DockerSandbox(WIDE)
    try:
        yield await sandbox.session()
    finally:
        await asyncio.wait_for(sandbox.aclose(), 20)


def kinds(execution: Execution) -> list[list[str]]:
    return [list(display.data) for display in execution.displays]


async def test_tables(wide: DockerSession) -> None:
    heard: list[Display] = []
    shown = await wide.run("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]})\ndf", on_display=heard.append)
    assert shown.value == "   a\n0  1\n1  2"
    assert tuple(heard) == shown.displays
    assert shown.displays[-1].data["text/plain"] == shown.value
    assert "<table" in str(shown.displays[-1].data["text/html"])
    twice = await wide.run("display(df)\nfrom IPython.display import display as other\nother(df)\ndf;")
    assert (twice.value, twice.stdout) == (None, f"{shown.value}\n" * 2)
    assert kinds(twice) == [["text/html", "text/plain"]] * 2
    assert (await wide.run("df.a")).displays == ()
    for plain in ("1", "'x'", "[1, 2]", "df.a.to_numpy()", "display(3)"):
        assert (await wide.run(plain)).displays == (), plain


async def test_figures(wide: DockerSession) -> None:
    code = (
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\nplt.plot([2, 1])\n"
        "mine, ax = plt.subplots(); ax.bar(['a'], [1]); mine.savefig('mine.png')\nlast, ax = plt.subplots(); last"
    )
    drawn = await wide.run(code)
    assert drawn.stdout == "[saved figure-1.png]\n[saved figure-2.png]\n[saved figure-3.png]\n", drawn
    assert kinds(drawn) == [["image/svg+xml", "image/png", "text/plain"]] * 4
    assert drawn.value == "<Figure size 640x480 with 1 Axes>"
    assert drawn.displays[0].data["image/png"] == await wide.get("figure-1.png")
    assert "<svg" in str(drawn.displays[0].data["image/svg+xml"])
    names = [file.path for file in await wide.files()]
    assert names == ["figure-1.png", "figure-2.png", "figure-3.png", "mine.png"]
    many = await wide.run("plt.scatter(range(50_000), range(50_000));")
    assert kinds(many) == [["image/png", "text/plain"]], "a drawing of too many points is left out"
    assert (await wide.run("1")).displays == ()
    assert (await wide.run("plt.plot([1]); 1 / 0")).displays == ()


async def test_other_types(wide: DockerSession) -> None:
    code = (
        "from IPython.display import HTML, Markdown, JSON, Latex, Image, SVG, display\n"
        "display(HTML('<b>é</b>'), Markdown('# x'), JSON({'a': 1}), Latex('$x$'), SVG('<svg></svg>'))\n"
        "open('p.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n...'); Image('p.png')"
    )
    data = [dict(display.data) for display in (await wide.run(code)).displays]
    assert [next(iter(one.items())) for one in data] == [
        ("text/html", "<b>é</b>"),
        ("text/markdown", "# x"),
        ("application/json", '{"a": 1}'),
        ("text/latex", "$x$"),
        ("image/svg+xml", "<svg/>"),
        ("image/png", b"\x89PNG\r\n\x1a\n..."),
    ]


async def test_too_large_a_display_says_so(wide: DockerSession) -> None:
    big = "class Big:\n    def __init__(self, n): self.n = n\n    def _repr_html_(self): return 'x' * self.n\n"
    large = await wide.run(big + "display(Big(3_000_000))\ndisplay(Big(3_000_000))\nBig(1000)")
    assert [len(str(display.data.get("text/html", ""))) for display in large.displays] == [3_000_000, 0, 1000]
    assert "left out" in str(large.displays[1].data["text/plain"])
    flood = await wide.run("for _ in range(3000): display(Big(10_000))")
    assert flood.status == "ok"
    assert sum(len(str(text)) for display in flood.displays for text in display.data.values()) <= WIDE.displays


async def test_magics(wide: DockerSession) -> None:
    async def value(code: str) -> str | None:
        done = await wide.run(code)
        assert done.status == "ok", done
        return done.value

    assert await value("x = 41\nx") == "41"
    assert await value("%time _ + 1") == "42"
    assert await value("names = !echo a; echo {x}\nnames") == "['a', '41']"
    assert await value("%cd /tmp\n%pwd") == "'/tmp'"
    assert await value("'''\n%not a magic\n!nor this\n'''") == "'\\n%not a magic\\n!nor this\\n'"
    assert await value(">>> 1 + 1") == "2"
    assert await value("get_ipython().user_ns is globals()") == "True"
    assert (await wide.run("print('a', end=' ')\n!echo b")).stdout == "a b\n"
    assert (await wide.run("%%bash -s one\necho $1 $((1 + 1))")).stdout == "one 2\n"
    assert "exit status 3" in (await wide.run("%%bash\nexit 3")).error
    assert (await wide.run("%%writefile /work/a.py\ny = 5")).stdout == "Writing /work/a.py\n"
    assert await value("%run /work/a.py\ny") == "5"
    assert await value("%%capture said\nprint(1)\ndisplay(2)") is None
    assert await value("said.stdout, len(said.outputs)") == "('1\\n', 1)"
    assert "Docstring" in (await wide.run("len?")).stdout
    assert "not found" in (await wide.run("%none_such")).error
    wrong = (await wide.run("%time 1\nx = = 1")).error
    assert ", line 2\n" in wrong
    assert "SyntaxError: invalid syntax" in wrong
    assert await value("import threading; threading.active_count()") == "1"
    assert await value("import os; {*os.listdir('/tmp')} - {'matplotlib', 'ipython'}") == "set()"


async def test_pip_says_what_is_missing_or_where_it_may_not_go(wide: DockerSession) -> None:
    refused = await wide.run("%pip install none-such-package --retries 0")
    assert refused.status == "error"
    assert "no pip" in refused.error or "non-zero exit status" in refused.error


async def test_calls_home(wide: DockerSession) -> None:
    running = 0
    most = 0

    async def answer(name: str, arguments: dict[str, Any]) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        if name == "fail":
            raise ValueError("not today")
        return {"name": name, **arguments}

    schema = {
        "type": "object",
        "properties": {"q": {"type": "string"}, "limit": {"type": "integer", "default": 3}},
        "required": ["q"],
    }
    await wide.offer([HostFunction("search", "Search the web.", schema), HostFunction("fail", "Fails.")])
    found = await wide.run("tools.search('x', limit=5)", on_call=answer)
    assert found.value == "{'name': 'search', 'q': 'x', 'limit': 5}"
    threads = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool: found = list(pool.map(tools.search, 'abcdefgh'))\n"
        "[one['q'] for one in found]"
    )
    assert (await wide.run(threads, on_call=answer)).value == str(list("abcdefgh"))
    assert most == 8
    tasks = "import asyncio\n[one['q'] for one in await asyncio.gather(*map(tools.aio.search, 'abcd'))]"
    assert (await wide.run(tasks, on_call=answer)).value == str(list("abcd"))
    failed = await wide.run("tools.fail()", on_call=answer)
    assert failed.error.splitlines()[-1].startswith("tools.ToolError: ")
    assert "not today" in failed.error
    stopped = await wide.run("while True: tools.search('x' * 100_000)", seconds=0.2, on_call=answer)
    assert (stopped.status, stopped.state) == ("timeout", "kept")
    copy = await wide.fork()
    assert (await copy.run("tools.search('y')['q']", on_call=answer)).value == "'y'"
    assert (await wide.run("tools.search('z')['q']", on_call=answer)).value == "'z'"


async def test_a_copy_shows_figures_and_tables_too(wide: DockerSession) -> None:
    await wide.run("import matplotlib.pyplot as plt, pandas as pd\n%time 1\nplt.plot([1])")
    copy = await wide.fork()
    shown = await copy.run("plt.plot([2])\npd.DataFrame({'a': [1]})")
    assert kinds(shown) == [["image/svg+xml", "image/png", "text/plain"], ["text/html", "text/plain"]]
    assert shown.stdout == "[saved figure-2.png]\n"


async def test_the_data_stack_and_its_processes(wide: DockerSession) -> None:
    code = (
        "import asyncio, duckdb, subprocess, numpy as np\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "def square(x): return x * x\nwith ProcessPoolExecutor(2) as pool: squares = list(pool.map(square, range(4)))\n"
        "program = await asyncio.create_subprocess_exec('true')\n"
        "squares, await program.wait(), subprocess.run(['true']).returncode, duckdb.sql('select 42').fetchall()"
    )
    assert (await wide.run(code)).value == "([0, 1, 4, 9], 0, 0, [(42,)])"
    assert (await wide.run("np.random.rand()")).value != (await wide.run("np.random.rand()")).value


async def test_a_file_of_the_code_may_have_the_name_of_a_module_of_ours(wide: DockerSession) -> None:
    for name in ("calls", "displays", "files", "frames", "interpreter", "supervisor"):
        await wide.put(f"{name}.py", b"mine = 1\n")
        assert (await wide.run(f"import {name}; {name}.mine")).value == "1", name
