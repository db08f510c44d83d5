"""Prepare many images on many cores: resumable, one bad file never stops the rest. Free of torch.

Dask runs the work, on this machine or on a cluster. A journal in the data set's folder keeps what is done, so that a
killed run goes on where it was. A file whose decoder takes its process down is named and left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed
from tqdm import tqdm

from common.data.files import write_whole

Record = dict[str, Any]
CHUNK = 4  # images a task, so that the scheduler keeps up with many cores
QUIET = {
    "distributed.scheduler.allowed-failures": 0,  # a file that takes a worker down is not tried on all of them
    "distributed.worker.daemon": True,
    "distributed.comm.retry.count": 3,
    "distributed.admin.log-format": "%(message)s",
    "logging.distributed": "critical",
}


class Journal:
    """What is done, one JSON record a line, beside the images.

    Args:
        path: the file; its first line holds the options.
        options: what the records depend on.

    Raises:
        ValueError: the journal there was written with other options.
    """

    def __init__(self, path: Path, options: Record) -> None:
        self.path, self.records = path, {}  # type: Path, dict[str, Record]
        lines = _whole_lines(path)
        if lines and lines[0] != options:
            raise ValueError(
                f"{path.parent} was prepared with other options: {lines[0]} instead of {options}. "
                "Give the same ones to go on, or another --dataset_dir."
            )
        self.records = {line["id"]: line for line in lines[1:]}
        known = "".join(json.dumps(line) + "\n" for line in [options, *self.records.values()])
        write_whole(path, lambda file: file.write(known.encode()))
        self.file = path.open("a")

    def add(self, record: Record) -> None:
        """Note a record; a kill after this loses nothing of it."""
        self.records[record["id"]] = record
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()


def _whole_lines(path: Path) -> list[Record]:
    """Return the lines of a journal; the last may have been cut off by a kill."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


@contextmanager
def cluster(workers: int, scheduler: str | None = None) -> Iterator[Client]:
    """Yield a Dask client: of a running scheduler, or of processes of one thread each on this machine.

    Raises:
        OSError: the scheduler does not answer.
    """
    with dask.config.set(QUIET):
        if scheduler:
            try:
                client = Client(scheduler, timeout=10)
            except (OSError, TimeoutError) as error:
                raise OSError(
                    f"No Dask scheduler answers at {scheduler}. Start one (dask scheduler), or leave it out."
                ) from error
            with client:
                yield client
            return
        before = dict(os.environ)  # Dask leaves its workers' OMP_NUM_THREADS=1 behind for whatever is started later
        local = LocalCluster(workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=50)
        try:
            with local, Client(local) as client:
                yield client
        finally:
            os.environ.clear()
            os.environ.update(before)


def run_all(
    work: Callable[[Record], Record],
    jobs: Sequence[Record],
    journal: Journal,
    workers: int,
    scheduler: str | None = None,
    title: str = "Preparing",
) -> None:
    """Run ``work`` on every job that the journal does not hold as done, and note what it returns.

    Files that were set aside are tried again: they may have been fetched anew.

    Args:
        work: from a job to its record; importable by name, since other processes run it. What is wrong with a file
            stands in the record as ``reason``; what it raises ends the run, which can be taken up again.
        jobs: dictionaries with ``id``, which the record repeats.
        journal: of this data set.
        workers: processes.
        scheduler: address of a Dask scheduler, in place of processes here.
        title: of the progress bar.
    """
    left = [job for job in jobs if "reason" in journal.records.get(job["id"], {"reason": ""})]
    if not left:
        return
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(left), desc=title, unit="image")
    with bar, cluster(workers, scheduler) as client:
        for record in _survivors(client, work, left):
            journal.add(record)
            bar.update()


def _survivors(client: Client, work: Callable[[Record], Record], jobs: Sequence[Record]) -> Iterator[Record]:
    """Yield a record for every job; those that went down with a process are tried once more, each on its own."""
    lost: list[Record] = []
    yield from _results(client, work, [list(jobs[i : i + CHUNK]) for i in range(0, len(jobs), CHUNK)], lost)
    crashed: list[Record] = []
    for job in lost:
        yield from _results(client, work, [[job]], crashed)
    for job in crashed:
        yield {"id": job["id"], "reason": "its decoder took the process down: the file is damaged"}


def _results(
    client: Client, work: Callable[[Record], Record], chunks: list[list[Record]], lost: list[Record]
) -> Iterator[Record]:
    """Yield records as they come; the jobs of a chunk whose process died go to ``lost``."""
    by_key = {}
    for chunk in chunks:
        future = client.submit(_run_chunk, work, chunk, pure=False)
        by_key[future] = chunk
    for future in as_completed(by_key):
        if isinstance(future.exception(), KilledWorker):
            lost += by_key[future]
        else:
            yield from future.result()
        future.release()


def _run_chunk(work: Callable[[Record], Record], chunk: Iterable[Record]) -> list[Record]:
    return [work(job) for job in chunk]
