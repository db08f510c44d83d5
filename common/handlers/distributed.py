"""Several processes on one training: set-up, and who writes."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


def start_process_group() -> None:
    """Join the processes that ``torchrun`` started: NCCL where there are GPUs, gloo on CPUs.

    Raises:
        ValueError: the command was not started by torchrun.
    """
    if "RANK" not in os.environ:
        raise ValueError("multi_gpu_train.json runs under torchrun: torchrun --nproc_per_node=N -m monai.bundle run …")
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def stop_process_group() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process: 0 writes files and logs."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def barrier() -> None:
    """Wait until every process has come this far; a single process goes on at once."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def local_device() -> torch.device:
    """Return this process's own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def distribute(network: torch.nn.Module, device: torch.device, staged: bool = False) -> DistributedDataParallel:
    """Wrap a network so that gradients are averaged over the processes; on GPUs batch statistics are shared too.

    Args:
        network: to wrap.
        device: of this process.
        staged: parts of it are held still for a while, and have no gradients to wait for.
    """
    if device.type != "cuda":
        return DistributedDataParallel(network, find_unused_parameters=staged)
    network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[device], find_unused_parameters=staged)


def same_everywhere(value: Any) -> Any:
    """Return the first process's value in all of them."""
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]
