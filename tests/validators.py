"""Other people's readers and checkers of DICOM, as functions; each skips with the name of its package where it is absent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK

from tests.conftest import missing

# What the tools say about valid objects, and why that is no fault of ours.
DCIODVFY_NOISE = (
    "Device UID",  # in Contributing Equipment since 2019 (CP 1835): newer than the tool
    "Standard Extended SOP Class",  # plane geometry in a Secondary Capture, which viewers need for sorting and alignment
    "Attribute is not present in standard DICOM IOD",  # the attributes that the line above speaks of
    "needed to build DICOMDIR",  # empty in the source, where it is Type 2
)


def dciodvfy(path: Path) -> list[str]:
    """The lines with "Error" that David Clunie's dciodvfy prints for a file."""
    tool = _tool("dciodvfy", "dicom3tools (Debian)")
    ran = subprocess.run([tool, "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    said = (ran.stderr + ran.stdout).splitlines()
    if not said:
        raise AssertionError(f"dciodvfy said nothing about {path.name}")
    return [line for line in said if line.startswith("Error") and not any(noise in line for noise in DCIODVFY_NOISE)]


def pixelmed_sr(path: Path) -> list[str]:
    """The lines with "Error" that PixelMed's DicomSRValidator prints for an SR; IHE uses it for AI Results."""
    java = _tool("java", "default-jre-headless (Debian)")
    jars = sorted(Path("/usr/share/java").glob("*.jar"))
    if not any(jar.name == "pixelmed.jar" for jar in jars):
        missing("libpixelmed-java (Debian)", "is not installed")
    used = [str(jar) for jar in jars if not ("log4j" in jar.name or "slf4j" in jar.name)]
    used += [str(jar) for jar in jars if jar.name in ("slf4j-api.jar", "slf4j-nop.jar")]
    limits = [f"-Djdk.xml.xpath{name}Limit={value}" for name, value in
              (("TotalOp", 2_000_000_000), ("ExprOp", 100_000_000), ("ExprGrp", 100_000_000))]  # fmt: skip
    ran = subprocess.run(
        [java, "-Xss64m", "-Djava.awt.headless=true", *limits, "-cp", ":".join(used),
         "com.pixelmed.validate.DicomSRValidator", str(path)],
        capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    said = (ran.stdout + ran.stderr).splitlines()
    if not any("IOD validation complete" in line for line in said):
        raise AssertionError(f"DicomSRValidator did not finish: {said[-3:]}")
    if not any("Found Root Template TID_1500" in line for line in said):
        return ["Error: the root template TID 1500 was not recognised"]
    return [line for line in said if line.startswith("Error")]


def dcmqi_masks(path: Path, folder: Path) -> tuple[dict[int, SimpleITK.Image], dict]:
    """A SEG read by dcmqi's segimage2itkimage: segment number -> image, and its description of the segments."""
    beside = Path(sys.executable).with_name("segimage2itkimage")
    tool = str(beside) if beside.exists() else _tool("segimage2itkimage", "dcmqi (pip)")
    folder.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run([tool, "--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nrrd"],
                         capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    if ran.returncode != 0:
        raise AssertionError(f"segimage2itkimage: {(ran.stderr or ran.stdout).splitlines()[-3:]}")
    images = {int(one.stem): SimpleITK.ReadImage(str(one)) for one in sorted(folder.glob("*.nrrd"))}
    return images, json.loads((folder / "meta.json").read_text())


def ones_in_space(image: SimpleITK.Image) -> np.ndarray:
    """The centres of an image's non-zero voxels, LPS mm, (n, 3), in no order that means anything."""
    voxels = SimpleITK.GetArrayFromImage(image)
    indices = np.argwhere(voxels)[:, ::-1].astype(float)  # x, y, z
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return indices @ direction.T + np.array(image.GetOrigin())


def dsrdump(path: Path) -> str:
    """A report as DCMTK's dsrdump prints it; fails where DCMTK refuses the document."""
    tool = _tool("dsrdump", "dcmtk (Debian)")
    ran = subprocess.run([tool, "+Pc", str(path)], capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode != 0:
        raise AssertionError(f"dsrdump: {ran.stderr.splitlines()[:3]}")
    return ran.stdout


def dcmdump(path: Path) -> str:
    """A file as DCMTK's dcmdump prints it; fails where DCMTK cannot parse it or warns."""
    tool = _tool("dcmdump", "dcmtk (Debian)")
    ran = subprocess.run([tool, str(path)], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    if ran.returncode != 0 or ran.stderr.strip():
        raise AssertionError(f"dcmdump: {ran.stderr.splitlines()[:3]}")
    return ran.stdout


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(package, f"{name} is not installed")
    return str(found)
