"""Nothing that users install is under a licence that binds what they make of it, or forbids to sell it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
FORBIDDEN = re.compile(r"\bA?GPL|affero|general public|non.?commercial|CC.BY.NC", re.IGNORECASE)
ALLOWED = re.compile(r"\bLGPL|lesser general public|library general public", re.IGNORECASE)  # links, does not bind
EITHER = re.compile(r"\bOR\b|;")  # of several licences one may choose


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by(requirements: Path) -> set[str]:
    """Return the names of all packages that a list of requirements brings along here."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements.read_text().splitlines() if line and line[0] not in "#-"]
    while waiting:
        wanted = waiting.pop()
        name = normal(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            needs = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [need for need in map(Requirement, needs) if not need.marker or need.marker.evaluate({"extra": ""})]
    return found


def binds(licence: str) -> bool:
    """Return whether every licence that one may choose is forbidden."""
    choices = EITHER.split(licence)
    return all(FORBIDDEN.search(ALLOWED.sub("", choice)) for choice in choices)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("GNU General Public License v3 (GPLv3)", True),
        ("AGPL-3.0-only", True),
        ("CC-BY-NC-4.0", True),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", False),
        ("MIT OR GPL-2.0-only", False),
        ("Apache-2.0", False),
    ],
)
def test_a_licence_that_binds_is_told_from_one_that_does_not(licence: str, expected: bool) -> None:
    assert binds(licence) == expected


def test_no_dependency_of_users_is_under_a_binding_licence() -> None:
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    licences = {normal(row["Name"]): row["License"] for row in listed}
    ours = installed_by(ROOT / "requirements.txt")
    assert {"torch", "monai", "highdicom", "mlflow", "numpy"} <= ours
    assert {name: licences[name] for name in ours if binds(licences[name])} == {}
    unknown = {name for name in ours if licences[name] in ("UNKNOWN", "")}
    assert unknown <= KNOWN, "look these up, and note them in KNOWN"


KNOWN = {
    "cuda-toolkit",
    "huey",
    "skops",
}  # NVIDIA's, which PyTorch brings; MIT; MIT: looked up, their metadata do not say
