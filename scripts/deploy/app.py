"""MONAI Deploy application, one for all bundles: a study's folder in, structured report and segmentations out.

Usage: python scripts/deploy/app.py --input STUDY --output OUT --bundle dist/NAME_vVERSION.zip
In a container input, output and the packed bundle lie where HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH and
HOLOSCAN_MODEL_PATH say. Research use only; not a medical device.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import pydicom  # noqa: F401  # before monai, whose optional imports break otherwise
from monai.deploy.core import AppContext, Application, Operator, OperatorSpec

from common.data.packs import unpack
from common.reports.errors import refusal_of
from common.reports.prediction import NOTICE, predict_images, summary

STACK = 32 * 2**20  # bytes that the scheduler's threads want


class ReadStudy(Operator):
    """Hand on the folder of a study."""

    def __init__(self, fragment: Any, *args: Any, folder: Path, **kwargs: Any) -> None:
        self.folder = folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.output("study")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        if not any(path.is_file() for path in self.folder.rglob("*")):
            raise FileNotFoundError(f"There is no file in '{self.folder}': give a study's folder.")
        outputs.emit(self.folder, "study")


class RunBundle(Operator):
    """Read the study with our own loader, run the packed bundle on it, and write report, segmentations and pictures."""

    def __init__(self, fragment: Any, *args: Any, bundle: Path, output_dir: Path, **kwargs: Any) -> None:
        self.bundle, self.output_dir = bundle, output_dir
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("study")
        spec.output("found")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        outputs.emit(predict_images(inputs.receive("study"), self.bundle, self.output_dir), "found")


class TellResult(Operator):
    """Say what was written."""

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("found")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        sys.stdout.write(f"{summary(inputs.receive('found'))}\n{NOTICE}\n")


class BreastImaging(Application):
    """Study → bundle → result."""

    def __init__(self, context: AppContext, bundle: Path, **kwargs: Any) -> None:
        self.context, self.bundle = context, bundle
        super().__init__(**kwargs)

    def compose(self) -> None:
        from holoscan.conditions import CountCondition  # needed for nothing else

        study, output = Path(self.context.input_path), Path(self.context.output_path)
        reader = ReadStudy(self, CountCondition(self, 1), folder=study, name="read_study")
        runner = RunBundle(self, bundle=self.bundle, output_dir=output, name="run_bundle")
        self.add_flow(reader, runner, {("study", "study")})
        self.add_flow(runner, TellResult(self, name="tell_result"), {("found", "found")})


def packed_bundle(asked: str | None, models: Path) -> Path:
    """Return the packed bundle that was asked for, or the only one of the models' folder.

    Raises:
        FileNotFoundError: there is none, or there are several.
    """
    found = [Path(asked)] if asked else sorted(models.rglob("*.zip"))
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} packed bundles in '{models}': give one by --bundle FILE.zip.")
    return found[0]


def main() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < STACK and hard in (resource.RLIM_INFINITY, max(hard, STACK)):
        resource.setrlimit(resource.RLIMIT_STACK, (STACK, hard))  # counts from the start of a process on
        os.execv(sys.executable, [sys.executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, words in (
        ("input", "folder of a study"),
        ("output", "folder of the results"),
        ("bundle", "packed bundle"),
    ):
        parser.add_argument(f"--{name}", help=words)
    given = parser.parse_args()
    argv = [sys.argv[0], *(["-i", given.input] if given.input else []), *(["-o", given.output] if given.output else [])]
    context = Application.init_app_context(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = unpack(packed_bundle(given.bundle, Path(context.model_path)), folder)
            BreastImaging(context, bundle, argv=argv).run()
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            sys.stderr.write(f"error: {refusal}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
