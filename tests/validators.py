"""Other people's readers and checkers of DICOM, as functions; each skips with the name of its package where it is absent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from PIL import Image

from tests import sr_validator
from tests.conftest import missing

# What the tools say about valid objects, and why that is no fault of ours.
DCIODVFY_NOISE = (
    "Device UID",  # in Contributing Equipment since 2019 (CP 1835): newer than the tool
    "Standard Extended SOP Class",  # plane geometry in a Secondary Capture, which viewers need for sorting and alignment
    "Attribute is not present in standard DICOM IOD",  # the attributes that the line above speaks of
    "needed to build DICOMDIR",  # empty in the source, where it is Type 2
)


# What PixelMed's validator says about valid documents, and why that is no fault of ours.
PIXELMED_NOISE = (
    'Code (43468-8,LN,"XR unspecified body region") not found in context group 100',  # newer than the tool's tables
)


def dciodvfy(path: Path) -> list[str]:
    """The lines with "Error" that David Clunie's dciodvfy prints for a file."""
    tool = _tool("dciodvfy", "dicom3tools (Debian)")
    ran = subprocess.run(
        [tool, "-new", str(path)], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    said = (ran.stderr + ran.stdout).splitlines()
    if not said:
        raise AssertionError(f"dciodvfy said nothing about {path.name}")
    return [line for line in said if line.startswith("Error") and not any(noise in line for noise in DCIODVFY_NOISE)]


def pixelmed_sr(path: Path, template: str | None = "TID_1500") -> list[str]:
    """The lines with "Error" that PixelMed's DicomSRValidator prints for an SR; IHE uses it for AI Results. `template`:
    the one that it must recognise at the root; None for a document without one."""
    _tool("java", "default-jre-headless (Debian)")
    jars = sorted(Path("/usr/share/java").glob("*.jar"))
    if not any(jar.name == "pixelmed.jar" for jar in jars):
        missing("libpixelmed-java (Debian)", "is not installed")
    used = [str(jar) for jar in jars if not ("log4j" in jar.name or "slf4j" in jar.name)]
    used += [str(jar) for jar in jars if jar.name in ("slf4j-api.jar", "slf4j-nop.jar")]
    said = sr_validator.ask(tuple(used), str(path))
    if not any("IOD validation complete" in line for line in said):
        raise AssertionError(f"DicomSRValidator did not finish: {said[-3:]}")
    if template is not None and not any(f"Found Root Template {template}" in line for line in said):
        return [f"Error: the root template {template} was not recognised"]
    return [line for line in said if line.startswith("Error") and not any(noise in line for noise in PIXELMED_NOISE)]


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
    ran = subprocess.run(
        [tool, "+Pc", str(path)], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    if ran.returncode != 0:
        raise AssertionError(f"dsrdump: {ran.stderr.splitlines()[:3]}")
    return ran.stdout


# What dcmpschk says of valid presentation states, and why that is no fault of ours.
DCMPSCHK_NOISE = (
    "ContributionDateTime (0018,a002), Type DT",  # the value has the very form that it prints as the expected one
)
DCMPSCHK_UTF8 = "PatientName (0010,0010), Type PN"  # it takes no bytes above 127 in UTF-8


def dcmpschk(path: Path) -> list[str]:
    """What DCMTK's checker of presentation states finds wrong: the lines that name an attribute or a missing one."""
    tool = _tool("dcmpschk", "dcmtk (Debian)")
    ran = subprocess.run([tool, str(path)], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    said = (ran.stdout + ran.stderr).splitlines()
    if not any("Testing:" in line for line in said):
        raise AssertionError(f"dcmpschk did not test: {said[:3]}")
    wrong = [line for line in said if line.startswith(("E:", "F:")) and line.strip() != "E:"]
    noise = list(DCMPSCHK_NOISE)
    if pydicom.dcmread(path).get("SpecificCharacterSet") == "ISO_IR 192":
        noise.append(DCMPSCHK_UTF8)
    found, at = [], 0
    while at < len(wrong):  # a fault is four lines: what kind, which attribute, its value, the form that it should have
        fault = wrong[at : at + 4]
        if len(fault) == 4 and "conform to data type" in fault[0] and any(one in fault[1] for one in noise):
            at += 4
            continue
        found.append(wrong[at])
        at += 1
    return found


def dcmp2pgm(image: Path, state: Path, folder: Path, frame: int = 1) -> np.ndarray:
    """An image as DCMTK shows it through a presentation state: uint8 (rows, columns)."""
    tool = _tool("dcmp2pgm", "dcmtk (Debian)")
    picture = folder / f"{state.stem}-{frame}.pgm"
    ran = subprocess.run([tool, "-p", str(state), "-f", str(frame), str(image), str(picture)],
                         capture_output=True, text=True, errors="replace", timeout=60, check=False)  # fmt: skip
    if ran.returncode != 0:
        raise AssertionError(f"dcmp2pgm: {ran.stderr.splitlines()[-3:]}")
    return np.asarray(Image.open(picture))


def pdf_text(path: Path) -> str:
    """The text of a PDF as poppler reads it, all white space taken out; fails where poppler complains."""
    return "".join(_poppler("pdftotext", str(path), "-").split())


def pdf_page(path: Path, folder: Path) -> np.ndarray:
    """The first page of a PDF as poppler draws it, at 100 dots per inch: uint8 (rows, columns, 3)."""
    _poppler("pdftoppm", "-r", "100", "-f", "1", "-l", "1", "-singlefile", "-png", str(path), str(folder / "page"))
    return np.asarray(Image.open(folder / "page.png").convert("RGB"))


def _poppler(name: str, *arguments: str) -> str:
    tool = _tool(name, "poppler-utils (Debian)")
    ran = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    # What poppler says where the machine has no font for Han characters, which a report names and does not embed.
    complaints = [line for line in ran.stderr.splitlines() if "Missing language pack" not in line
                  and "No display font" not in line and "Couldn't find a font" not in line]  # fmt: skip
    if ran.returncode != 0 or complaints:
        raise AssertionError(f"{name}: {complaints[:3]}")
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
