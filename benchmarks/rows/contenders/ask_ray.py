"""ray.data.llm's HTTP processor on a cluster of this machine, with Ray Data's checkpoint of rows that are written.

A task sends the requests of a batch one after the other and has some batches in hand, so small batches are given."""

import json
import logging

import ray
from ray.data.checkpoint import CheckpointConfig
from ray.data.llm import HttpRequestProcessorConfig, build_processor
from table import SCHEMA, TASK, arguments, read_rows

FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
BATCH = 16  # rows
SLOTS = 4  # for tasks and actors: with 2, the filter of rows that are done and the requests wait for each other
BLOCK = 250  # rows that are written together, and are in the checkpoint then
STORE = 200_000_000  # bytes of shared memory


def main() -> None:
    url, folder, _ = arguments()
    task, form = TASK, FORMAT  # what goes to the workers may not name this script's modules

    def asked(row):
        messages = [{"role": "system", "content": task}, {"role": "user", "content": row["text"]}]
        payload = {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 1024, "response_format": form}
        return {"id": row["id"], "payload": payload}

    def told(row):
        return {"id": row["id"], "output": json.loads(row["http_response"]["choices"][0]["message"]["content"])}

    ray.init(
        "local",
        num_cpus=SLOTS,
        include_dashboard=False,
        object_store_memory=STORE,
        logging_level=logging.ERROR,
        _temp_dir=str(folder / "ray"),
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig("id", str(folder / "kept"), delete_checkpoint_on_success=False)
    config = HttpRequestProcessorConfig(url=f"{url}/chat/completions", batch_size=BATCH, concurrency=1)
    count = sum(1 for _ in read_rows(folder))
    rows = ray.data.read_csv(str(folder / "rows.csv"), override_num_blocks=-(-count // BLOCK))
    build_processor(config, preprocess=asked, postprocess=told)(rows).write_json(str(folder / "out"))
    ray.shutdown()


main()
