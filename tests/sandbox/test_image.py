"""Names, manifests and derived images. The derived ones are built of wheels made here: no index is asked."""

import base64
import hashlib
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from docker import DockerClient

from fastslow.sandbox import (
    DockerSandbox,
    ImageBuildFailed,
    ImageMissing,
    InvalidImageRequest,
    Limits,
    Manifest,
    Package,
    SandboxError,
    build_command,
    build_image,
    image_exists,
    image_manifest,
    image_tag,
)
from fastslow.sandbox.base import DEBIAN_BASE, REGISTRY_BASE, SLIM_BASE
from fastslow.sandbox.packages import REQUIREMENTS, requested


def test_one_request_has_one_tag_however_it_is_spelt() -> None:
    one = image_tag(["scikit-learn==1.7", "httpx[http2]>=0.27,<1"])
    assert one == image_tag(("httpx[HTTP2] <1, >=0.27", "Scikit_Learn == 1.7", "scikit-learn==1.7"))
    assert one.startswith("fastslow-sandbox:")


def test_another_request_has_another_tag() -> None:
    tags = [
        image_tag(),
        image_tag(["seaborn"]),
        image_tag(["seaborn==0.13.2"]),
        image_tag(base="python:3.12-slim"),
        image_tag(["seaborn"], "python:3.12-slim"),
    ]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize(
    "name",
    [
        *("", "-e .", "--index-url=http://evil", "./here", "../up", "/etc/passwd", "a b"),
        *("x @ http://evil/x.whl", "git+https://evil/x", "x==1 --hash=sha256:00", 'x; python_version > "3"'),
        *("x\n-r /etc/passwd", "x#y", "$(id)"),
    ],
)
def test_what_is_no_name_of_a_package_is_refused(name: str) -> None:
    with pytest.raises(InvalidImageRequest, match="expected a package"):
        image_tag([name])


def test_a_file_is_taken_for_a_name() -> None:
    assert requested(["evil.whl"]) == ("evil-whl",)


@pytest.mark.parametrize("base", ["", "-x", "a b", "x\nRUN id", "${X}", "Upper"])
def test_what_is_no_image_is_refused_as_base(base: str) -> None:
    with pytest.raises(InvalidImageRequest, match="the name of an image"):
        image_tag(base=base)


def test_the_command_that_builds_can_be_pasted() -> None:
    command = build_command(["Seaborn>=0.13", "rich"], "python:3.12-slim")
    assert command == "fastslow sandbox build --packages rich --packages 'seaborn>=0.13' --base python:3.12-slim"


def test_a_manifest_survives_json() -> None:
    manifest = Manifest("base:1", ("sha256:aa",), "3.11.2", ("a",), (Package("a", "1", "ff"),), ("git",))
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"base": 1}', "null", '{"base":"b","layers":[1]}', "nonsense"])
def test_nonsense_is_no_manifest(text: str) -> None:
    with pytest.raises(ValueError, match="expected the manifest"):
        Manifest.from_json(text)


def test_every_requirement_is_pinned_and_hashed() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    pins = [line for line in lines if not line.startswith(" ")]
    assert all("==" in pin and pin.endswith(" \\") for pin in pins)
    assert all(line.startswith("    --hash=sha256:") for line in lines if line not in pins)


def _wheel(folder: Path, name: str, version: str, needs: tuple[str, ...] = ()) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n\n\ndef main():\n    print(version)\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-version = {name}:main\n",
        f"{name}-{version}.data/scripts/{name}-program": "\x7fnot really a program of this machine",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for path, text in files.items()
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path


@pytest.fixture
async def leaves_nothing(client: DockerClient) -> AsyncIterator[list[str]]:
    """Names of images that the test makes, removed at its end."""
    names: list[str] = []
    yield names
    for name in names:
        if image_exists(client, name):
            client.images.remove(name, force=True)


def _silent(what: str, fraction: float | None) -> None:
    assert what


@pytest.mark.docker
def test_the_standard_image_says_what_is_inside(client: DockerClient) -> None:
    manifest = image_manifest(client)
    versions = {package.name: package.version for package in manifest.packages}
    assert manifest.base in (SLIM_BASE, REGISTRY_BASE, DEBIAN_BASE)
    assert client.images.get(image_tag()).attrs["RootFS"]["Layers"][: len(manifest.layers)] == list(manifest.layers)
    assert manifest.python.startswith("3.11.")
    assert {"numpy", "pandas", "matplotlib", "ipython", "pip"} <= versions.keys()
    assert all(len(package.sha256) == 64 for package in manifest.packages)
    assert manifest.requested == ()


@pytest.mark.docker
async def test_extra_packages_make_an_image_on_top(
    client: DockerClient, index: Path, leaves_nothing: list[str], small: Limits
) -> None:
    _wheel(index, "fastslow_tiny", "1.2", ("fastslow-tinier", "numpy>=1"))
    _wheel(index, "fastslow_tinier", "0.1")
    numpy = next(package.version for package in image_manifest(client).packages if package.name == "numpy")
    _wheel(index, "numpy", numpy)  # only for its metadata: the image has the real one
    tag = image_tag(["fastslow-tiny"])
    leaves_nothing.append(tag)

    assert await build_image(_silent, packages=["Fastslow_Tiny"]) == tag

    manifest, standard = image_manifest(client, tag), image_manifest(client)
    assert manifest.requested == ("fastslow-tiny",)
    assert {package.name: package.version for package in set(manifest.packages) - set(standard.packages)} == {
        "fastslow-tiny": "1.2",
        "fastslow-tinier": "0.1",
    }
    below = client.images.get(image_tag()).attrs["RootFS"]["Layers"]
    assert client.images.get(tag).attrs["RootFS"]["Layers"][: len(below)] == below
    sandbox = DockerSandbox(small, image=tag)
    try:
        session = await sandbox.session()
        ran = await session.run("import fastslow_tiny, numpy\nfastslow_tiny.version, numpy.ones(2).sum().item()")
        assert ran.value == "('1.2', 2.0)", ran
        inside = await session.run("print(open('/opt/manifest.json').read())")
        assert Manifest.from_json(inside.stdout) == manifest
        assert (await session.shell("fastslow_tiny-version")).stdout == "1.2\n"
        assert (await session.shell("command -v fastslow_tiny-program")).exit_code == 0
        pip = await session.shell("pip --version")
        assert pip.exit_code == 0, pip
    finally:
        await sandbox.aclose()


@pytest.mark.docker
async def test_source_only_packages_are_refused(client: DockerClient, index: Path) -> None:
    (index / "fastslow_source-1.0.tar.gz").write_bytes(b"never opened")
    with pytest.raises(ImageBuildFailed, match=r"must have wheels for Python 3\.11"):
        await build_image(_silent, packages=["fastslow-source"])
    assert not image_exists(client, image_tag(["fastslow-source"]))


@pytest.mark.docker
async def test_a_package_cannot_change_what_the_standard_image_has(client: DockerClient, index: Path) -> None:
    _wheel(index, "fastslow_tiny", "1.2", ("numpy<1",))
    _wheel(index, "numpy", "0.9")
    with pytest.raises(ImageBuildFailed, match="accept what the standard image has"):
        await build_image(_silent, packages=["fastslow-tiny"])


@pytest.mark.docker
async def test_a_base_without_python_is_refused(
    client: DockerClient, leaves_nothing: list[str], tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    leaves_nothing.append("fastslow-test-empty:1")
    client.images.build(path=str(tmp_path), tag="fastslow-test-empty:1")
    with pytest.raises(ImageBuildFailed, match=r"must have python3 >= 3\.11, bash"):
        await build_image(_silent, base="fastslow-test-empty:1")
    assert not client.containers.list(all=True, filters={"ancestor": "fastslow-test-empty:1"})


@pytest.mark.docker
async def test_packages_that_are_not_built_are_named_with_the_command(client: DockerClient) -> None:
    sandbox = DockerSandbox(packages=["fastslow-never==1"])
    try:
        with pytest.raises(ImageMissing, match="`fastslow sandbox build --packages fastslow-never==1`"):
            await sandbox.session()
    finally:
        await sandbox.aclose()


@pytest.mark.docker
def test_an_image_of_others_has_no_manifest(client: DockerClient) -> None:
    with pytest.raises(ImageMissing, match="fastslow sandbox build"):
        image_manifest(client, "fastslow-sandbox:never")
    with pytest.raises(SandboxError, match="was not made by"):
        image_manifest(client, image_manifest(client).base)


def test_a_manifest_carries_no_dates() -> None:
    manifest = Manifest("base:1", (), "3.11.2", (), (), ())
    assert sorted(json.loads(manifest.to_json())) == ["base", "commands", "layers", "packages", "python", "requested"]
