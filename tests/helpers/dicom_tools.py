"""Other people's programs that check DICOM: dciodvfy (dicom3tools), dsrdump and storescu (dcmtk), Orthanc."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Return a program's path; skip the test where it is not installed (`scripts/tools.sh` does that)."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: run scripts/tools.sh")
    return found


def errors_of(path: Path) -> list[str]:
    """Return the errors that dciodvfy finds in a file."""
    done = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    assert said, "dciodvfy says at least what the file is"
    return [line for line in said if line.startswith("Error")]


def content_of(path: Path) -> str:
    """Return a structured report as dsrdump prints it, which has to find nothing wrong."""
    done = subprocess.run([program("dsrdump"), str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and "E:" not in done.stderr, done.stderr
    return done.stdout


class Archive:
    """An Orthanc at work on the loopback address."""

    def __init__(self, dicom_port: int, web_port: int) -> None:
        self.dicom_port, self.address = dicom_port, f"http://127.0.0.1:{web_port}"

    def send(self, *files: Path) -> None:
        names = [str(file) for file in files]
        subprocess.run([program("storescu"), "-R", "127.0.0.1", str(self.dicom_port), *names], check=True)

    def get(self, place: str) -> bytes:
        with urllib.request.urlopen(self.address + place, timeout=10) as answer:
            return answer.read()

    def ask(self, place: str) -> dict | list:
        return json.loads(self.get(place))


@contextmanager
def orthanc(folder: Path) -> Iterator[Archive]:
    """Start an empty archive, and stop it."""
    archive = Archive(*_free_ports(2))
    options = {"StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomPort": archive.dicom_port}
    options |= {"HttpPort": int(archive.address.rpartition(":")[2]), "RemoteAccessAllowed": False, "Plugins": []}
    options |= {"DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False}
    (folder / "orthanc.json").write_text(json.dumps(options))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program("Orthanc"), str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait_for(archive, process)
        yield archive
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(archive: Archive, process: subprocess.Popen) -> None:
    for _ in range(300):
        assert process.poll() is None, "Orthanc has stopped"
        try:
            archive.ask("/system")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("Orthanc does not answer")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
