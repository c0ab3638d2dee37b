"""cxr-triage: which image of which series is read, why others are not, and what comes out, whatever the pixels' form."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from pipelines import registry
from pipelines.base import Executed, Unsuitable, execute, maker_of
from pipelines.cxr_triage import ACCEPTS, TURNED, CxrTriage
from pipelines.examples import radiograph
from pipelines.outputs import codes
from pipelines.radiograph import Radiograph
from pipelines.study import Study, is_dicom

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def pipeline() -> CxrTriage:
    return registry.load("cxr-triage", device="cpu")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def image(pipeline: CxrTriage) -> np.ndarray:
    """A frontal chest, uint16 of 12 bits, bright = dense."""
    [one] = pipeline.example().instances
    return Radiograph.from_instance(one).voxels[0].astype(np.uint16)


def study_of(folder: Path, image: np.ndarray, **attributes: object) -> Study:
    return Study.from_files(radiograph(image, folder, **attributes))  # type: ignore[arg-type]


def found(pipeline: CxrTriage, study: Study) -> dict[str, object]:
    return dict(pipeline.run(study, pipeline.select(study)).findings)


def refusal(pipeline: CxrTriage, study: Study) -> str:
    with pytest.raises(Unsuitable) as refused:
        pipeline.select(study)
    return refused.value.reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "MG"}, "Modality is MG, wanted CR or DX"),
        ({"Modality": "RG"}, "Modality is RG"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "is CT Image Storage"),
        ({"ViewPosition": "LL"}, "ViewPosition is LL"),
        ({"ViewPosition": "lateral"}, "ViewPosition is lateral"),
        ({"BodyPartExamined": "HAND"}, "BodyPartExamined is HAND"),
        ({"BodyPartExamined": "LSPINE"}, "BodyPartExamined is LSPINE"),
        ({"PatientSpeciesDescription": "Canine"}, "of an animal"),
        ({"NumberOfFrames": 3}, "has 3 frames"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "ImageType says SCREEN SAVE"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "not a grey image"),
    ],
)
def test_what_headers_say_against_an_image_is_told(
    pipeline: CxrTriage, tmp_path: Path, attributes: dict[str, object], reason: str
) -> None:
    study = study_of(tmp_path, np.zeros((80, 80), np.uint16), **attributes)
    assert reason in " ".join(ACCEPTS.explain(study.series[0]))
    assert reason in refusal(pipeline, study)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.arange(60 * 90, dtype=np.uint16).reshape(60, 90), "has 60 x 90 pixels, at least 64 x 64"),
        (np.arange(70 * 300, dtype=np.uint16).reshape(70, 300), "is 70 x 300 pixels, more than 2.5 times"),
        (np.full((80, 80), 7, np.uint16), "is empty or saturated: 100 % of its pixels have one value"),
    ],
    ids=["small", "long", "flat"],
)
def test_images_without_a_chest_s_size_or_without_content_are_refused(
    pipeline: CxrTriage, tmp_path: Path, image: np.ndarray, reason: str
) -> None:
    assert reason in refusal(pipeline, study_of(tmp_path, image))


def test_headers_that_say_nothing_or_thorax_are_no_reason(tmp_path: Path, image: np.ndarray) -> None:
    for k, said in enumerate(
        ({"ViewPosition": "", "BodyPartExamined": ""}, {"BodyPartExamined": "THORAX", "ViewPosition": "AP"})
    ):
        assert ACCEPTS.explain(study_of(tmp_path / str(k), image, **said).series[0]) == []


def test_a_turned_chest_is_refused_by_its_pixels(pipeline: CxrTriage, tmp_path: Path, image: np.ndarray) -> None:
    reason = refusal(pipeline, study_of(tmp_path, np.rot90(image).copy()))
    assert "is no frontal chest by its pixels: the view check sees" in reason
    assert "series 1" in reason


def test_noise_is_refused_by_its_pixels(pipeline: CxrTriage, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 4096, (256, 256), dtype=np.uint16)
    assert "is no frontal chest by its pixels" in refusal(pipeline, study_of(tmp_path, noise))


def test_both_polarities_and_a_header_that_lies_give_the_same_probabilities(
    pipeline: CxrTriage, tmp_path: Path, image: np.ndarray
) -> None:
    plain = found(pipeline, study_of(tmp_path / "a", image))
    inverse = found(
        pipeline,
        study_of(tmp_path / "b", 4095 - image, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11),
    )
    lying = found(
        pipeline, study_of(tmp_path / "c", image, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    )
    assert plain["polarity"] == inverse["polarity"] == "as the header says"
    assert plain["probability"] == inverse["probability"]
    assert lying["polarity"] == TURNED
    assert TURNED in str(lying["summary"])
    assert lying["probability"] == pytest.approx(plain["probability"], abs=0.02)


@pytest.mark.parametrize(
    "form",
    ["8 bit", "16 bit", "twice as large", "half as large", "rescaled", "signed", "JPEG 2000", "secondary capture"],
)
def test_bits_sizes_and_compression_do_not_change_what_is_found(
    pipeline: CxrTriage, tmp_path: Path, image: np.ndarray, form: str
) -> None:
    plain = found(pipeline, study_of(tmp_path / "plain", image))
    said: dict[str, object] = {}
    if form == "8 bit":
        image = (image // 16).astype(np.uint8)
    elif form == "16 bit":
        image = (image * 16).astype(np.uint16)
    elif form == "twice as large":
        image = image.repeat(2, 0).repeat(2, 1)
    elif form == "half as large":
        image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        image = ((image[::2, ::2].astype(int) + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) // 4).astype(
            np.uint16
        )
    elif form == "rescaled":
        said = {"RescaleSlope": "0.25", "RescaleIntercept": "-500"}
    elif form == "signed":
        said = {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15}
    elif form == "secondary capture":
        said = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ViewPosition": "", "BodyPartExamined": ""}
    [path] = radiograph(image, tmp_path / "other", **said)  # type: ignore[arg-type]
    if form == "JPEG 2000":
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(path)
    other = found(pipeline, Study.from_files([path]))
    assert other["probability"] == pytest.approx(plain["probability"], abs=0.08)


def test_of_two_images_in_one_series_the_frontal_one_is_read(
    pipeline: CxrTriage, tmp_path: Path, image: np.ndarray
) -> None:
    paths = radiograph(np.rot90(image).copy(), tmp_path, InstanceNumber=1)
    paths += radiograph(image, tmp_path, InstanceNumber=2)
    paths += radiograph(image, tmp_path, SeriesNumber=2, ViewPosition="LL")
    study = Study.from_files(paths)
    series = pipeline.select(study)
    assert series.get("SeriesNumber") == 1
    assert pipeline.run(study, series).outputs[0].volume.instances[0].get("InstanceNumber") == 2  # type: ignore[attr-defined]


def test_the_reasons_of_every_series_are_told(pipeline: CxrTriage, tmp_path: Path, image: np.ndarray) -> None:
    paths = radiograph(image, tmp_path, ViewPosition="LL")
    paths += radiograph(image, tmp_path, SeriesNumber=2, BodyPartExamined="HIP")
    reason = refusal(pipeline, Study.from_files(paths))
    assert "series 1: ViewPosition is LL" in reason and "series 2: BodyPartExamined is HIP" in reason


@pytest.fixture(scope="module")
def ran(pipeline: CxrTriage) -> tuple[Study, Executed]:
    study = pipeline.example()
    return study, execute(pipeline, study, pipeline.select(study), maker_of(pipeline, "0.1.0", CREATED))


def test_the_report_gives_a_probability_for_every_finding(pipeline: CxrTriage, ran: tuple[Study, Executed]) -> None:
    _, executed = ran
    [report] = [one.dataset() for made in executed.made if made.name == "report" for one in made.kept]
    text = str(report)
    for one in pipeline._model.card.labels:
        assert one.name in text
    assert executed.findings["positive"], "the example has findings"
    for code, key, factor in ((codes.PROBABILITY, "probability", 100), (codes.PREDICTIVE_ENTROPY, "entropy", 1)):
        expected = [factor * executed.findings[key][name] for name in executed.findings["positive"]]
        assert numbers_of(report, code) == pytest.approx(sorted(expected), abs=0.06)


def numbers_of(report: pydicom.Dataset, code: codes.Code) -> list[float]:
    found = []
    for item in walk(report):
        name = item.ConceptNameCodeSequence[0] if item.ValueType == "NUM" else {}
        if code.value in (name.get("CodeValue"), name.get("LongCodeValue")):
            found.append(float(item.MeasuredValueSequence[0].NumericValue))
    return sorted(found)


def walk(item: pydicom.Dataset) -> list[pydicom.Dataset]:
    below = item.get("ContentSequence") or ()
    return [*(one for child in below for one in (child, *walk(child)))]


def test_each_positive_finding_has_a_heatmap(ran: tuple[Study, Executed]) -> None:
    study, executed = ran
    maps = [one.dataset() for made in executed.made if made.name == "heatmap" for one in made.kept]
    assert len(maps) == len(executed.findings["positive"])
    source = study.instances[0].SOPInstanceUID
    for one in maps:
        assert {item.ReferencedSOPInstanceUID for item in one.SourceImageSequence} == {source}
        assert one.SamplesPerPixel == 3


def test_monitoring_gets_the_acquisition_the_greys_and_the_certainty(ran: tuple[Study, Executed]) -> None:
    told = ran[1].features
    assert told["device.ViewPosition"] == "PA" and told["acquisition.rows"] > 64
    assert told["output.Nodule.positive"] == ("Nodule" in ran[1].findings["positive"])
    assert told["output.Nodule.p"] == pytest.approx(ran[1].findings["probability"]["Nodule"], abs=1e-4)
    assert {"pixels.entropy", "uncertainty.mutual-information", "uncertainty.entropy.Nodule", "uncertainty.distance",
            "uncertainty.frontal"} <= set(told)  # fmt: skip
    assert len(json.loads(told["embedding"])) == 64
    assert "acquisition.slices" not in told, "a radiograph has none"


class Sure:
    """A model that is as sure as one asks."""

    def __init__(self, model: object, p: float, usual: bool) -> None:
        self._model, self._p, self._usual = model, p, usual

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def classify(self, image: np.ndarray) -> object:
        import dataclasses

        reading = self._model.classify(image)  # type: ignore[attr-defined]
        return dataclasses.replace(
            reading, probability=dict.fromkeys(reading.probability, self._p), out_of_distribution=not self._usual
        )


@pytest.mark.parametrize(("p", "usual", "urgent"), [(0.999, True, True), (0.01, True, False), (0.999, False, False)])
def test_a_study_is_urgent_by_the_card_s_rule(pipeline: CxrTriage, p: float, usual: bool, urgent: bool) -> None:
    sure = CxrTriage(Sure(pipeline._model, p, usual))  # type: ignore[arg-type]
    study = pipeline.example()
    result = sure.run(study, sure.select(study))
    assert result.urgent == urgent
    assert result.findings["priority"] == ("STAT" if urgent else "")
    assert ("STAT" in str(result.findings["summary"])) == urgent
    assert ("unlike those" in str(result.findings["summary"])) == (not usual)
    assert {output.name for output in result.outputs} == ({"report", "heatmap"} if p > 0.5 else {"report"})


REAL = {
    "nih-00027426_000-nofinding-dx.dcm": None,
    "nih-cxr-nofinding.dcm": None,
    "rsna-cxr-pa.dcm": None,
    "rsna-cxr-pa-fake-monochrome1.dcm": None,
    "wg04-thorax-RG1_J2KI.dcm": None,
    "dog-thorax-dx.dcm": "is no frontal chest by its pixels",
    "OutOfBoundsOverlay.dcm": "Modality is MG",
    "wg04-MG1_J2KI.dcm": "Modality is RG",
}


@pytest.mark.parametrize(("name", "reason"), REAL.items())
def test_real_radiographs_are_read_or_refused_with_the_true_reason(
    pipeline: CxrTriage, real_data: Path, tmp_path: Path, name: str, reason: str | None
) -> None:
    [path] = [one for case in ("o08-cr-dx", "o09-mg") for one in (real_data / case).rglob(name) if is_dicom(one)]
    study = Study.from_files([Path(shutil.copy(path, tmp_path))])
    if reason is not None:
        assert reason in refusal(pipeline, study)
        return
    told = found(pipeline, study)
    assert (told["polarity"] == TURNED) == (name == "rsna-cxr-pa-fake-monochrome1.dcm")
    assert set(told["probability"]) == {one.name for one in pipeline._model.card.labels}  # type: ignore[call-overload]
