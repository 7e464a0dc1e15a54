"""onnxruntime, on the ONNX file that Pellucid exports, which computes the same function."""

from collections.abc import Callable

import onnxruntime
import torch

from benchmarks.jobs import Job
from benchmarks.peers.pellucid_peer import network
from pellucid.export import onnx_bytes


def make(job: Job) -> Callable[[int], None]:
    net = network(job)
    params, _ = net.init(job.shape, torch.Generator().manual_seed(0))
    data, _ = onnx_bytes(net, params, job.shape)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    x = {"input": torch.rand(job.batch, *job.shape).numpy()}

    def run(steps: int) -> None:
        for _ in range(steps):
            session.run(None, x)

    return run
