"""The int8 layers that run in vLLM on x86 processors: as exact as bfloat16, whichever instructions there are."""

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
import fastslow_int8
from vllm.model_executor.kernels.linear.scaled_mm.cpu import CPUInt8ScaledMMLinearKernel, Int8ScaledMMLinearLayerConfig

def fbgemm(weight, scale):
    return fastslow_int8.Int8Linear(weight, scale.flatten())

class OneDNN(CPUInt8ScaledMMLinearKernel):
    process_weights_after_loading = fastslow_int8.take_onednn
    _apply_weights_onednn = fastslow_int8.in_two_passes(CPUInt8ScaledMMLinearKernel._apply_weights_onednn)

def onednn(weight, scale):
    layer = torch.nn.Module()
    layer.logical_widths = [len(weight)]
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    layer.weight_scale = torch.nn.Parameter(scale, requires_grad=False)
    layer.input_scale = layer.input_zero_point = layer.azp_adj = None
    config = Int8ScaledMMLinearLayerConfig(is_static_input_scheme=False, is_channelwise=True, input_symmetric=True)
    kernel = OneDNN(config, ["weight", "weight_scale", "input_scale", "input_zero_point", "azp_adj"])
    torch.set_default_dtype(torch.bfloat16)
    kernel.process_weights_after_loading(layer)
    torch.set_default_dtype(torch.float32)
    return lambda _, x, bias=None: kernel.apply_weights(layer, x, bias)

torch.manual_seed(1)
weight = torch.randint(-127, 128, (96, 200), dtype=torch.int8)
scale = torch.rand(96, 1) / 100
layer, found = globals()[sys.argv[2]](weight.clone(), scale.clone()), {}
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
@pytest.mark.parametrize("layer", ["fbgemm", "onednn"])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the plugin is for x86 processors")
def test_it_multiplies_as_exactly_as_bfloat16(layer: str, vllm_url: str) -> None:
    command = [str(engine_python()), "-W", "ignore", "-c", COMPARE, str(PLUGIN), layer]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    worst: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert set(worst) == {"1", "3", "64"}
    assert max(worst.values()) < 2**-6, worst  # bfloat16 has 8 bits


def test_vllm_finds_it_by_its_entry_point() -> None:
    (found,) = Distribution.at(PLUGIN / "fastslow_int8.dist-info").entry_points
    assert (found.group, found.value) == ("vllm.general_plugins", "fastslow_int8:register")
    assert (PLUGIN / "fastslow_int8.py").exists()
