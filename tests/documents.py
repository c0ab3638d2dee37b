"""What the tests of documents share: names in many scripts, a radiograph, outputs through the gate and from the file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from pipelines.base import Output
from pipelines.examples import ct_study
from pipelines.outputs import codes
from pipelines.outputs.check import Gate
from pipelines.outputs.identity import Maker
from pipelines.outputs.parts import Evaluation, Finding, KeyRegion, Measurement
from pipelines.outputs.report import Report
from pipelines.radiograph import Radiograph
from pipelines.study import Study
from tests.results import MAKER, written

# Specific Character Set and a name that it holds, as hospitals send them
NAMES: dict[str, tuple[str, str | list[str]]] = {
    "German": ("Müller^Jörg^^Dr.", "ISO_IR 100"),
    "French": ("Lefèvre^Françoise", "ISO_IR 100"),
    "Spanish": ("Muñoz^José", "ISO_IR 100"),
    "Greek": ("Διονυσιος^Ελενη", "ISO_IR 126"),
    "Cyrillic": ("Люкceмбypг^Иван", "ISO_IR 144"),
    "Japanese": ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
    "Korean": ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
    "UTF-8": ("Größe^Änne=山田^太郎", "ISO_IR 192"),
    "no character set": ("Doe^Jane", ""),
}
# What a pipeline may say: signs that most character sets lack
SPOKEN = "Fläche ≥ 3 mm² – “uncertain”, p ≈ 0.5"


def spoken(report: Report) -> Report:
    """The same report with one thing more said, in signs that most character sets lack."""
    said = (Evaluation(codes.COMMENT, SPOKEN), Evaluation(codes.FINDING, codes.PRESENT))
    return Report(report.volume, report.findings, said, report.segmentation, report.procedure)


def named(folder: Path, kind: str) -> Study:
    """A small study of a patient with a name of NAMES."""
    name, sets = NAMES[kind]

    def set_it(dataset: Dataset, index: int) -> None:
        dataset.PatientName = name
        dataset.pop("SpecificCharacterSet", None)
        if sets:
            dataset.SpecificCharacterSet = sets

    return written(folder, shape=(8, 16, 16), change=set_it)


def radiograph_study(folder: Path, photometric: str = "MONOCHROME2", **attributes: object) -> Study:
    """A DX image of 60 x 40 pixels with a bright square in rows 10 to 29 and columns 5 to 24."""

    def as_dx(dataset: Dataset, index: int) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing", "RescaleType",
                        "PositionReferenceIndicator", "SliceThickness", "SliceLocation", "WindowCenter", "WindowWidth"):  # fmt: skip
            del dataset[keyword]
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.Modality, dataset.ImageType = "DX", ["ORIGINAL", "PRIMARY"]
        dataset.PatientOrientation, dataset.ImageLaterality = ["L", "F"], "U"
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = photometric, 0
        dataset.StudyDescription, dataset.SeriesDescription = "Chest PA, synthetic", "PA"
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    pixels = np.full((1, 60, 40), 500, np.int16)
    pixels[0, 10:30, 5:25] = 3000
    return Study.from_files(ct_study(pixels, (1, 0.2, 0.2), folder, "dx", as_dx))


def radiograph_report(study: Study) -> Report:
    """A report on it: the square, and one thing that was not seen."""
    image = Radiograph.from_instance(study.instances[0])
    square = np.array([(4.5, 9.5), (24.5, 9.5), (24.5, 29.5), (4.5, 29.5)])
    found = Finding("Opacity", codes.FINDING, codes.LUNG, codes.LEFT, KeyRegion(0, square),
                    (Measurement(codes.PROBABILITY, 0.9, codes.NO_UNIT),), (Evaluation(codes.FINDING, codes.PRESENT),))  # fmt: skip
    nothing = Finding("Effusion", codes.FINDING, codes.LUNG, codes.RIGHT, None, (),
                      (Evaluation(codes.FINDING, codes.ABSENT),))  # fmt: skip
    return Report(image, (found, nothing), procedure=codes.XR_PROCEDURE)  # type: ignore[arg-type]


def released(output: Output, study: Study, maker: Maker = MAKER, outputs: Sequence[str] = ()) -> list[Dataset]:
    """The objects of an output, through the gate, and read back from what leaves. A rerun must give the same bytes, and
    writing them must not warn: pydicom does where a character set does not hold a text."""
    names = ("segmentation", "report", "heatmap", *outputs)
    results = [one for one in getattr(output, "results", ()) if one.name in names]

    def gate() -> Gate:
        made = Gate(study, maker, names)
        for one in results:  # as after the run's other outputs
            own = {maker.uid(study, one.name, number) for number in range(len(one.SOPInstanceUIDs) + 1)}
            for uid in own & set(one.SOPInstanceUIDs):
                made.admit(uid, one.SOPClassUID)
        return made

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, dataset in enumerate(output.to_dicom(study, maker), 1):
            content = gate().release(output.name, number, dataset).content
            again = output.to_dicom(study, maker)[number - 1]
            assert gate().release(output.name, number, again).content == content
            found.append(pydicom.dcmread(BytesIO(content)))
    return found


def assert_of_its_patient(result: Dataset, study: Study) -> None:
    """The name byte for byte, the character set, the study, and who made it."""
    source = study.instances[0].header
    assert result.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")
    for keyword in ("PatientName", "StudyDescription", "PatientID", "AccessionNumber", "StudyInstanceUID"):
        assert str(result.get(keyword)) == str(source.get(keyword)), keyword
    mine, its = result["PatientName"].value.original_string, source["PatientName"].value.original_string
    assert mine == its and isinstance(mine, bytes)
    assert result.ContributingEquipmentSequence[0].DeviceUID == MAKER.device_uid
