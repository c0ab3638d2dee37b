"""Elements that objects share are encoded once: the files are those that pydicom writes."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from pipelines.outputs.encode import Encoder
from tests.results import Case, bytes_of, case, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("encode"), shape=(6, 24, 28), PatientName="Müller^Zoë",
                        SpecificCharacterSet="ISO_IR 192"))  # fmt: skip


def test_every_object_is_written_as_pydicom_writes_it(one: Case) -> None:
    for datasets in one.made().values():
        encoder = Encoder()
        assert [b"".join(encoder.encode(dataset)) for dataset in datasets] == bytes_of(datasets)


def test_what_objects_share_is_fresh_once(one: Case) -> None:
    first, second, *_ = one.made()["heatmap"]
    encoder = Encoder()
    assert {"PatientName", "SOPInstanceUID", "Manufacturer"} <= {element.keyword for element in encoder.fresh(first)}
    encoder.encode(first)
    fresh = {element.keyword for element in encoder.fresh(second)}
    assert {"SOPInstanceUID", "ImagePositionPatient", "SourceImageSequence"} <= fresh
    assert not {"PatientName", "Manufacturer", "PixelData"} & fresh


def test_a_shared_element_that_gets_another_value_is_written_anew(one: Case) -> None:
    first, second, *_ = one.made()["heatmap"]
    encoder = Encoder()
    encoder.encode(first)
    second.SeriesDescription = "another"  # pydicom sets it in the element that both share
    assert [b"".join(encoder.encode(one)) for one in (second, first)] == bytes_of([second, first])
    assert b"another" in b"".join(encoder.encode(first))


def test_another_transfer_syntax_is_refused(one: Case) -> None:
    made: Dataset = one.made()["report"][0]
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(ValueError, match="Explicit VR Little Endian"):
        Encoder().encode(made)
