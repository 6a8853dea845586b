"""The int8 layers that run in vLLM where the processor has AVX2 alone: as exact as what they stand in for."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import Distribution

import pytest

from fastslow.agent.serving.install import engine_python
from fastslow.agent.serving.start import PLUGIN

COMPARE = """
import json, sys
import torch
sys.path.insert(0, sys.argv[1])
from fastslow_int8 import Int8Linear
torch.manual_seed(1)
weight = torch.randint(-127, 128, (96, 200), dtype=torch.int8)
scale = torch.rand(96, 1) / 100
layer, found = Int8Linear(weight, scale.flatten()), {}
for rows in (1, 3, 64):
    x = torch.randn(2, rows, 200)
    x[0, 0, 5] = 300.0  # models have such an outlier in some rows
    bias = torch.randn(96)
    exact = x @ (weight.float() * scale).T + bias
    got = layer(None, x.bfloat16(), bias.bfloat16())
    assert got.dtype == torch.bfloat16 and got.shape == (2, rows, 96)
    found[rows] = float(((got.float() - exact).norm(dim=-1) / exact.norm(dim=-1)).max())
print(json.dumps(found))
"""


@pytest.mark.engine
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the plugin is for x86 processors")
def test_it_multiplies_as_exactly_as_bfloat16(vllm_url: str) -> None:
    command = [str(engine_python()), "-W", "ignore", "-c", COMPARE, str(PLUGIN)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    worst: dict[str, float] = json.loads(done.stdout)
    assert set(worst) == {"1", "3", "64"}
    assert max(worst.values()) < 2**-6, worst  # bfloat16 has 8 bits


def test_vllm_finds_it_by_its_entry_point() -> None:
    (found,) = Distribution.at(PLUGIN / "fastslow_int8.dist-info").entry_points
    assert (found.group, found.value) == ("vllm.general_plugins", "fastslow_int8:register")
    assert (PLUGIN / "fastslow_int8.py").exists()
