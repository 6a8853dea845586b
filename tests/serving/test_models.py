"""The catalog: what is in it, what suits which machine, and which licence must be accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastslow.agent.engine.profiles import PROFILES, find_profile
from fastslow.agent.errors import ModelUnavailable
from fastslow.agent.serving.catalog import (
    DEFAULT_WITHOUT_HUB,
    Folder,
    Hub,
    ModelEntry,
    Packages,
    accept_licence,
    catalog,
    default_model,
    find_model,
    fits,
    may_use,
)
from fastslow.agent.serving.machine import GIB, Machine

LAPTOP = Machine(cores=4, memory=12 * GIB)
LARGE_GPU = Machine(cores=32, memory=200 * GIB, gpu_memory=80 * GIB)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))


def nothing_present(entry: ModelEntry) -> bool:
    return False


@pytest.mark.parametrize("entry", catalog(), ids=lambda entry: entry.id)
def test_every_entry_is_whole(entry: ModelEntry) -> None:
    assert entry.family in {profile.name for profile in PROFILES}
    assert find_profile(entry.served_name).name == entry.family
    assert entry.modes == ("template" if find_profile(entry.family).switch == "template" else "hybrid")
    assert min(entry.download, entry.disk, entry.memory, entry.kv) > 0
    assert entry.served_context <= entry.context
    if isinstance(entry.source, Packages):
        assert len(entry.source.sha256) == 64
        assert "==" in entry.source.requirement


def test_ids_are_unique() -> None:
    ids = [entry.id for entry in catalog()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["exaone-4.0-1.2b", "EXAONE-4.0-1.2B", "LGAI-EXAONE/EXAONE-4.0-1.2B"])
def test_a_model_is_found_by_each_of_its_names(name: str) -> None:
    assert find_model(name).source == Hub("LGAI-EXAONE/EXAONE-4.0-1.2B")


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelUnavailable, match=r"no model 'gpt-9'.*qwen3-0.6b.*--base-url"):
        find_model("gpt-9")


def test_a_folder_of_weights_is_an_entry(tmp_path: Path) -> None:
    shape = {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "hidden_size": 512,
        "num_hidden_layers": 3,
        "max_position_embeddings": 4096,
    }
    (tmp_path / "config.json").write_text(json.dumps(shape))
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    entry = find_model(str(tmp_path))
    assert entry.source == Folder(tmp_path)
    assert entry.folder == tmp_path
    assert (entry.memory, entry.context, entry.kv) == (1000, 4096, 2 * 2 * 3 * 2 * 64)


def test_a_folder_without_weights_or_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"config\.json with its shape"):
        find_model(str(tmp_path))


def test_fitting_counts_weights_cache_and_engine() -> None:
    small = find_model("qwen2.5-coder-1.5b")
    assert fits(small, LAPTOP).fits
    assert not fits(small, Machine(4, 3 * GIB)).fits
    assert "too slow without a GPU" in fits(find_model("qwen3-8b"), Machine(4, 200 * GIB)).text
    assert fits(find_model("exaone-4.0-32b"), LARGE_GPU).fits
    assert not fits(find_model("exaone-4.0-32b"), Machine(8, 64 * GIB, 24 * GIB)).fits


def test_a_closed_licence_is_asked_for_once() -> None:
    exaone = find_model("exaone-4.0-32b")
    assert not may_use(exaone)
    assert may_use(find_model("qwen3-8b"))
    accept_licence(exaone)
    assert may_use(exaone)
    assert may_use(find_model("exaone-4.0-1.2b"))


def test_the_default_needs_no_hub_where_none_answers() -> None:
    for machine in (LAPTOP, LARGE_GPU, Machine(1, GIB)):
        assert default_model(machine, nothing_present, lambda: False).id == DEFAULT_WITHOUT_HUB


def test_the_default_is_the_best_that_fits_and_may_be_used() -> None:
    assert default_model(LARGE_GPU, nothing_present, lambda: True).id == "qwen3-32b"
    accept_licence(find_model("exaone-4.0-32b"))
    assert default_model(LARGE_GPU, nothing_present, lambda: True).id == "exaone-4.0-32b"
    assert default_model(LAPTOP, nothing_present, lambda: True).id == "exaone-4.0-1.2b"


def test_weights_on_disk_are_taken_without_asking_the_hub() -> None:
    def hub() -> bool:
        raise AssertionError("the hub was asked")

    def only_embedded(entry: ModelEntry) -> bool:
        return entry.id == DEFAULT_WITHOUT_HUB

    assert default_model(LAPTOP, only_embedded, hub).id == DEFAULT_WITHOUT_HUB
