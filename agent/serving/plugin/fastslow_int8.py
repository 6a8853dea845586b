"""A vLLM plugin: int8 layers that are as exact as bfloat16 ones, on every x86 processor.

vLLM's kernel has eight bits for an activation. Models of this family have an outlier in many rows, which leaves few of
the eight to all others: with one of 60 in a row of ordinary numbers, a layer is wrong by 7.7 % (bfloat16: 0.3 %). So
what eight bits leave is multiplied in a second pass over the same weights. That costs little where their way from
memory is what takes time (0.87 of the speed, token by token), and more for a prompt (0.39 of it).

Processors without int8 dot products (AVX2 alone: AMD up to Zen 3, Intel up to 2020) lack a kernel as well: oneDNN takes
a general routine there that packs the weights anew at each call, 0.5 tokens a second with a 1.5B model on 2 cores.
FBGEMM (https://arxiv.org/abs/2101.05615), which PyTorch brings, packs them once.

The managed server has this folder on its path, where vLLM finds the plugin by its entry point:
https://docs.vllm.ai/en/stable/design/plugin_system/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found]  # in the engine environment only

STEPS = 63  # of an activation to each side of zero: with more, two products may not fit AVX2's 16 bits


def register() -> None:
    """Put our layers in the place of vLLM's, where the processor wants it. Called in each of its processes."""
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    if "avx2" not in flags:
        return
    from vllm.model_executor.kernels.linear.scaled_mm.cpu import (  # type: ignore[import-not-found]
        CPUInt8ScaledMMLinearKernel as Kernel,
    )

    if {"avx512_vnni", "avx_vnni"} & set(flags):
        Kernel._apply_weights_onednn = in_two_passes(Kernel._apply_weights_onednn)
        Kernel.process_weights_after_loading = take_onednn
        return

    theirs = Kernel.process_weights_for_onednn

    def process(self: Any, layer: Any) -> None:
        if not (self.config.is_channelwise and self.config.input_symmetric and not self.config.is_static_input_scheme):
            theirs(self, layer)
            return
        weight, scale = (getattr(layer, name) for name in self.layer_param_names[:2])
        self.linear_method = Int8Linear(weight.data, scale.data.flatten().float())
        Head.int8 = True
        setattr(layer, self.layer_param_names[0], None)  # it is packed now

    Kernel.process_weights_for_onednn = process

    from vllm.model_executor.layers.vocab_parallel_embedding import (  # type: ignore[import-not-found]
        UnquantizedEmbeddingMethod as Vocabulary,
    )

    whole = Vocabulary.process_weights_after_loading

    def process_vocabulary(self: Any, layer: Any) -> None:
        whole(self, layer)
        if not layer.weight.is_meta:
            layer.cpu_linear = Head(layer.cpu_linear)

    Vocabulary.process_weights_after_loading = process_vocabulary


def take_onednn(self: Any, layer: Any) -> None:
    """Where there is AMX, vLLM has another kernel, whose activations cannot be had in two parts."""
    self.linear_method = self._apply_weights_onednn
    self.process_weights_for_onednn(layer)


def in_two_passes(theirs: Any) -> Any:
    """vLLM's kernel, for each row and for what its eight bits leave of that row."""
    from vllm._custom_ops import onednn_scaled_int8_quant  # type: ignore[import-not-found]

    def apply(self: Any, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if self.config.is_static_input_scheme or not self.config.input_symmetric:
            out: torch.Tensor = theirs(self, layer, x, bias)
            return out
        rows = x.reshape(-1, x.shape[-1])
        steps, scale, _ = onednn_scaled_int8_quant(rows)
        left = (rows - steps * scale).to(x.dtype)
        first, second = theirs(self, layer, torch.cat([rows, left]), None).chunk(2)
        out = first + second if bias is None else first + second + bias
        return out.reshape(*x.shape[:-1], out.shape[-1])

    return apply


class Int8Linear:
    """weight: int8 (out, in), symmetric; scale: float32 (out,), one a row of it.

    Seven bits of an activation are too few (in 1,224 tokens of text, 85 % of the next tokens stayed the same), so what
    they leave is multiplied in a second pass; together they are as exact as bfloat16.
    """

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        zeros = torch.zeros(len(scale), dtype=torch.long)
        whole = torch._make_per_channel_quantized_tensor(weight.contiguous(), scale.double(), zeros, 0)
        torch.backends.quantized.engine = "fbgemm"
        self._packed = torch.ops.quantized.linear_prepack(whole, None)

    def __call__(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).float()
        largest = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-8)
        exact = rows / largest  # FBGEMM has one scale for all rows; so each has one of its own
        coarse = (exact * STEPS).round() / STEPS
        both = torch.cat([coarse, (exact - coarse) * 2 * STEPS])
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        first, second = multiply(both, 1 / STEPS, STEPS + 1, self._packed).chunk(2)
        out = ((first + second / (2 * STEPS)) * largest).to(x.dtype)
        out = out if bias is None else out + bias
        return out.reshape(*x.shape[:-1], out.shape[-1])


class Head:
    """The last layer, from 1,536 numbers to 152,000 words. Int8 models leave it in bfloat16, for which AVX2 has no
    product: it took 206 of 470 ms of a step with eight requests. Whole models keep theirs.
    """

    int8 = False  # a layer of this model is

    def __init__(self, theirs: Any) -> None:
        self._linear = theirs
        self._packed: Int8Linear | None = None

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if not Head.int8:
            out: torch.Tensor = self._linear(x, weight, bias)
            return out
        if self._packed is None:  # here, since a table of words that is not the last layer as well has no use for it
            scale = weight.abs().amax(dim=1).float().clamp(min=1e-8) / 127
            self._packed = Int8Linear((weight.float() / scale[:, None]).round().to(torch.int8), scale)
        return self._packed(None, x, bias)
