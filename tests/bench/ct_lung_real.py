"""How ``ct-lung`` does on openly published CT: overlap with the aerated lung, sides, and what it paints outside the lungs.

    python tests/bench/ct_lung_real.py [--model FOLDER] [--data FOLDER] [--json FILE] [--pictures FOLDER]

The reference for the chest is HU < -400, connected in 3D, not touching the image's sides (both lungs and the central
airways); for o04 the lower lobes of TotalSegmentator, for the other abdomens what of such air reaches the top slice.
These figures are an external check: nothing here is used to train or to choose weights.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
CASES = {
    "o01": "o01-ct-chest-lidc0314",
    "o02": "o02-ct-abdomen-crlm1004",
    "o03": "o03-ct-abdomen-j2k-totalseg/dicom",
    "o04": "o04-ct-abdpelvis-3mm-totalseg/dicom",
    "o06": "o06-ct-fruit-study-adit1001",
    "o10": "o10-transfer-syntaxes",
    "o11": "o11-odd-geometry",
}


@dataclass(frozen=True)
class Scan:
    """HU (slices toward the Head, rows toward Posterior, columns toward the Left) and spacing in mm in that order."""

    hu: np.ndarray
    spacing: tuple[float, float, float]
    flipped: tuple[int, ...]


def real_data() -> Path:
    return Path(os.environ.get("OVERREAD_REAL_DATA", ROOT.parent / "shared" / "data"))


def read_scans(folder: Path) -> list[Scan]:
    """Every axial CT series below ``folder`` whose pixels can be decoded, one scan each."""
    series: dict[str, list[pydicom.Dataset]] = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            d = pydicom.dcmread(file)
        except (pydicom.errors.InvalidDicomError, OSError):
            continue
        if d.get("Modality") == "CT" and "ImagePositionPatient" in d and "PixelData" in d and "PixelSpacing" in d:
            series.setdefault(str(d.SeriesInstanceUID), []).append(d)
    scans = []
    for datasets in series.values():
        scan = _scan(datasets)
        if scan is not None:
            scans.append(scan)
    return scans


def _scan(datasets: list[pydicom.Dataset]) -> Scan | None:
    first = datasets[0]
    row, column = np.array(first.ImageOrientationPatient[:3], float), np.array(first.ImageOrientationPatient[3:], float)
    normal = np.cross(row, column)
    if abs(normal[2]) < 0.9:
        return None
    by_place = {
        round(float(normal @ np.array(d.ImagePositionPatient, float)), 3): d
        for d in datasets
        if (d.Rows, d.Columns) == (first.Rows, first.Columns)
    }
    places = sorted(by_place)
    try:
        volume = np.stack(
            [
                by_place[p].pixel_array * float(by_place[p].get("RescaleSlope", 1))
                + float(by_place[p].get("RescaleIntercept", 0))
                for p in places
            ]
        )
    except (NotImplementedError, RuntimeError, AttributeError, ValueError):
        return None
    if volume.ndim != 3:
        return None
    gap = float(np.median(np.diff(places))) if len(places) > 1 else float(first.get("SliceThickness") or 5.0)
    flips = tuple(a for a, wrong in ((0, normal[2] < 0), (1, column[1] < 0), (2, row[0] < 0)) if wrong)
    spacing = (gap, float(first.PixelSpacing[0]), float(first.PixelSpacing[1]))
    return Scan(np.ascontiguousarray(np.flip(volume, flips)).astype(np.int16), spacing, flips)


def aerated_lung(hu: np.ndarray, through_top: bool = False) -> np.ndarray:
    """Air (HU < -400) connected in 3D that does not touch the sides: the largest part, or every part in the top slice."""
    parts, count = ndimage.label(hu < -400)
    if not count:
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(parts.ravel())
    edges = (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1])
    sizes[np.unique(np.concatenate([e.ravel() for e in edges]))] = 0
    sizes[0] = 0
    if through_top:
        top = np.unique(parts[-1])
        # Gas in the bowel may reach the top slice too; it is air through and through, which lung is not.
        keep = [p for p in top if p > 0 and sizes[p] > 60 and float(hu[parts == p].mean()) > -900]
        return np.isin(parts, keep)
    return parts == int(sizes.argmax())


def read_nifti(file: Path) -> np.ndarray:
    """The voxels (x, y, z) of a small uncompressed-header NIfTI-1 label file; integer types only."""
    raw = gzip.decompress(file.read_bytes())
    shape = np.frombuffer(raw, "<i2", 8, 40)[1:4]
    kind = {2: "<u1", 4: "<i2", 8: "<i4", 256: "<i1", 512: "<u2"}[int(np.frombuffer(raw, "<i2", 1, 70)[0])]
    offset = int(np.frombuffer(raw, "<f4", 1, 108)[0])
    return np.frombuffer(raw, kind, int(np.prod(shape)), offset).reshape(shape, order="F")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def judge_case(model: Any, name: str, scan: Scan, data: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """Figures, the labels that the model painted, and the reference where there is one."""
    from models.labels import labels_of

    began = time.monotonic()
    found = labels_of(model.predict(scan.hu, scan.spacing)["probability"])
    ml = float(np.prod(scan.spacing)) / 1000
    painted = found > 0
    out: dict[str, Any] = {
        "case": name,
        "shape": "x".join(map(str, scan.hu.shape)),
        "seconds": round(time.monotonic() - began, 2),
        "left_ml": round(float((found == 1).sum()) * ml, 1),
        "right_ml": round(float((found == 2).sum()) * ml, 1),
    }
    if painted.any():
        out["mean_hu"] = round(float(scan.hu[painted].mean()), 1)
    if name == "o01":
        truth = aerated_lung(scan.hu)
        out["dice"] = round(dice(painted, truth), 4)
    elif name == "o04":
        classes = read_nifti(data / "o04-ct-abdpelvis-3mm-totalseg" / "reference" / "example_seg_total.nii.gz")
        # NIfTI's x runs to the Right-to-Left of its affine; this file's grid is found by where its liver lies.
        truth = _onto(np.isin(classes, (10, 11, 12, 13, 14)), classes == 5, scan)
    elif name in ("o02", "o03"):
        truth = aerated_lung(scan.hu, through_top=True)
    else:
        return out, found, None
    out["reference_ml"] = round(float(truth.sum()) * ml, 1)
    # One voxel of grace: whether a boundary voxel is lung is a matter of definition.
    near = ndimage.binary_dilation(truth, iterations=1)
    out["outside_share"] = round(float((painted & ~near).sum()) / max(int(painted.sum()), 1), 4)
    out["outside_ml"] = round(float((painted & ~near).sum()) * ml, 2)
    middle = _midline(scan.hu)
    columns = np.arange(scan.hu.shape[2])[None, None, :]
    wrong = ((found == 1) & (columns < middle - 25 / scan.spacing[2])) | (
        (found == 2) & (columns > middle + 25 / scan.spacing[2])
    )
    out["wrong_side_share"] = round(float(wrong.sum()) / max(int(painted.sum()), 1), 4)
    return out, found, truth


def _onto(lungs: np.ndarray, liver: np.ndarray, scan: Scan) -> np.ndarray:
    """A NIfTI mask on the scan's axes: the liver must come out on the patient's right, the lungs above it."""
    lungs, liver = (np.transpose(m, (2, 1, 0)) for m in (lungs, liver))
    where = np.array([a.mean() for a in np.nonzero(liver)])
    flips = [2] if where[2] > lungs.shape[2] / 2 else []
    if np.nonzero(lungs)[0].mean() < where[0]:
        flips.append(0)
    best, best_hu = None, np.inf
    for also in ((), (1,)):
        turned = np.flip(lungs, (*flips, *also))
        mean = float(scan.hu[turned].mean())
        if mean < best_hu:
            best, best_hu = turned, mean
    assert best is not None
    return best


def _midline(hu: np.ndarray) -> float:
    """The column of the body's middle: the mean column of what is denser than water and deep inside."""
    body = hu > -200
    return float(np.mean([np.nonzero(s)[1].mean() for s in body if s.any()]))


def picture(scan: Scan, found: np.ndarray, truth: np.ndarray | None, file: Path) -> None:
    from PIL import Image

    rows = []
    for k in np.linspace(0, scan.hu.shape[0] - 1, 12).round().astype(int):
        grey = np.clip((scan.hu[k].astype(float) + 1050) / 1400, 0, 1) * 255
        rgb = np.stack([grey] * 3, -1)
        rgb[found[k] == 1, 0] += 90
        rgb[found[k] == 2, 1] += 90
        if truth is not None:
            rgb[ndimage.binary_dilation(truth[k]) & ~truth[k]] = (60, 60, 255)
        rows.append(np.array(Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).resize((320, 320))))
    sheet = np.concatenate([np.concatenate(rows[i : i + 4], 1) for i in range(0, len(rows), 4)], 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a folder that holds a folder ct-lung; default: the bundled model")
    parser.add_argument("--data", type=Path, default=real_data())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--write-card", action="store_true", help="enter the figures into the card as external checks")
    parser.add_argument("--precision", default="auto")
    chosen = parser.parse_args()
    from models.formats.native import load
    from models.shelf import Package, Shelf, read_card

    if chosen.model:
        model = load(Package(read_card(chosen.model / "ct-lung"), chosen.model / "ct-lung"), precision=chosen.precision)
    else:
        model = Shelf().load("ct-lung", precision=chosen.precision)
    rows = []
    for name, place in CASES.items():
        if not (chosen.data / place).is_dir():
            print(f"{name}: {chosen.data / place} is not there; skipped")
            continue
        for scan in read_scans(chosen.data / place):
            figures, found, truth = judge_case(model, name, scan, chosen.data)
            rows.append(figures)
            print("  ".join(f"{k} {v}" for k, v in figures.items()), flush=True)
            if chosen.pictures:
                picture(scan, found, truth, chosen.pictures / f"{name}-{len(rows)}.png")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))
    if chosen.write_card:
        write_checks(chosen.model / "ct-lung" if chosen.model else Shelf().find("ct-lung").folder, rows)


def write_checks(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Enter what was measured on openly published CT into a package's card, apart from its own metrics."""
    from models.training.writer import write_package

    data = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    weights = {name: (folder / name).read_bytes() for name in data.pop("weights")}
    data["external_checks"] = [
        {"command": "python tests/bench/ct_lung_real.py", **{k: v for k, v in row.items() if k != "seconds"}}
        for row in rows
        if "reference_ml" in row
    ]
    write_package(folder, data, weights)


if __name__ == "__main__":
    main()
