"""One of two processes: `python -m selfsight.testing._rank RANK SIZE FOLDER` answers what `ranks.Ranks` asks."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from multiprocessing.connection import Client
from pathlib import Path

from selfsight.testing.ranks import PATIENCE, Named


def answer(task: bytes) -> bytes:
    """What a function answers, or how it failed, or what of it could not be found here."""
    kind = "missing"
    try:
        function, arguments = pickle.loads(task)
        function = function.find()
        arguments = [value.find() if isinstance(value, Named) else value for value in arguments]
        kind = "failed"
        return pickle.dumps(("done", function(*arguments)))
    except Exception:
        return pickle.dumps((kind, f"rank {os.environ['RANK']}:\n{traceback.format_exc()}"))


def serve(rank: int, size: int, folder: str) -> None:
    """Answer until nobody asks."""
    import torch.distributed as dist

    os.environ["RANK"] = str(rank)
    connection = Client(str(Path(folder) / "socket"), "AF_UNIX")
    connection.send(rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=PATIENCE)
    while True:
        try:
            task = connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            break
        connection.send_bytes(answer(task))
    dist.destroy_process_group()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
