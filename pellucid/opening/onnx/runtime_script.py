"""Script that runs an ONNX file in a process of its own, within limits: `python runtime_script.py FOLDER SETTINGS`.

FOLDER contains model.onnx and inputs.npz, with an array (batches, N, ...) for each input. outputs.npz is written beside
them: the outputs for the first batch, then those for the second ... SETTINGS is a JSON object with the names of the
inputs and the limits. The script imports nothing of pellucid, so it starts in a fraction of a second. The exit code 3
is OUT_OF_MEMORY of pellucid.base.child.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def main(folder: Path, names: list[str], seconds: int, memory: int, threads: int) -> None:
    """Run the model on each batch.

    seconds: of processor time; memory: bytes of address space. The operating system ends the process above them.
    """
    if sys.platform != "win32":  # elsewhere, only the caller's time limit holds
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # only fatal errors are logged; other errors are raised
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    with np.load(folder / "inputs.npz", allow_pickle=False) as file:
        inputs = [file[name] for name in file.files]
    outputs: list[Any] = []
    for batch in zip(*inputs, strict=True):
        outputs.extend(session.run(None, dict(zip(names, batch, strict=True))))
    np.savez(folder / "outputs.npz", *outputs)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    except MemoryError:
        sys.exit(3)
    except Exception as error:  # onnxruntime raises its own classes
        if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
            sys.exit(3)
        raise
