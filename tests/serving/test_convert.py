"""GGUF to int8 for vLLM: what is written, and that the numbers are those of the source."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_models import ROWS, write_tiny_gguf

from fastslow.agent.serving import install
from fastslow.agent.serving.install import engine_python

PYTHON = engine_python()
CONVERT = Path(install.__file__).with_name("convert.py")
COMPARE = """
import json, sys
import gguf, torch
from safetensors.torch import load_file
from transformers import AutoTokenizer
source = {t.name: torch.from_numpy(t.data.copy()) for t in gguf.GGUFReader(sys.argv[1]).tensors}
got = load_file(sys.argv[2] + "/model.safetensors")
def worst(ours, theirs):
    scale = got[ours + "_scale"]
    return float((got[ours].float() - source[theirs] / scale).abs().amax())
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
ids = tokenizer("<think>ab</think><tool_call>", add_special_tokens=False)["input_ids"]
line_break = tokenizer("\\n", add_special_tokens=False)["input_ids"][-1]
embed = source["token_embd.weight"]
print(json.dumps({
    "int8": sorted(k for k, v in got.items() if v.dtype == torch.int8),
    "worst": worst("model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight"),
    "ids": ids,
    "quiet": float((got["model.embed_tokens.weight"][ids[0]].float() - embed[line_break]).abs().amax()),
    "head": worst("lm_head.weight", "output.weight"),
    "shown": tokenizer.decode(ids, skip_special_tokens=True),
    "tokens": len(tokenizer),
}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.gguf` and, converted from it, `out`."""
    if not PYTHON.exists():
        pytest.skip("the engine is not installed; run: fastslow up")
    folder = tmp_path_factory.mktemp("convert")
    write_tiny_gguf(folder / "tiny.gguf", PYTHON)
    command = [str(PYTHON), "-I", str(CONVERT), str(folder / "tiny.gguf"), str(folder / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last == {"step": "converted", "fraction": 1.0}
    return folder


@pytest.fixture(scope="module")
def facts(made: Path) -> dict[str, Any]:
    command = [str(PYTHON), "-I", "-c", COMPARE, str(made / "tiny.gguf"), str(made / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


@pytest.mark.engine
def test_every_matrix_of_the_layers_is_int8_and_close(facts: dict[str, Any]) -> None:
    assert len(facts["int8"]) == 2 * 7 + 1
    assert "lm_head.weight" in facts["int8"]
    assert facts["worst"] < 0.8  # in steps: half of one, and a quarter for bfloat16's rounding at 127 steps
    assert facts["head"] < 0.8


@pytest.mark.engine
def test_the_think_tags_are_single_tokens_that_stay_visible(facts: dict[str, Any]) -> None:
    opening, ab, closing, call = facts["ids"]
    assert (opening, closing) == (262, 263)  # the first ids that the vocabulary leaves free
    assert (ab, call) == (256, 260)
    assert facts["shown"] == "<think>ab</think><tool_call>"
    assert facts["tokens"] == 264
    assert facts["quiet"] < 0.01, "the tags carry the embedding of a line break"


@pytest.mark.engine
def test_the_config_tells_vllm_what_the_weights_are(made: Path) -> None:
    config = json.loads((made / "out" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["vocab_size"] == ROWS
    assert config["tie_word_embeddings"] is False
    assert config["quantization_config"]["format"] == "int-quantized"
    (group,) = config["quantization_config"]["config_groups"].values()
    assert (group["weights"]["strategy"], group["input_activations"]["strategy"]) == ("channel", "token")


@pytest.mark.engine
def test_a_failed_conversion_leaves_nothing(made: Path) -> None:
    broken = made / "broken.gguf"
    broken.write_bytes((made / "tiny.gguf").read_bytes()[:20_000])
    done = subprocess.run(
        [str(PYTHON), "-I", str(CONVERT), str(broken), str(made / "none")], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert {path.name for path in made.iterdir()} == {"tiny.gguf", "out", "broken.gguf"}
