"""The sections of the configuration about what comes back: reports over HL7, reports and key objects over DICOM, and
how long to wait for them. As in node.sections; docs/configuration.md says what each key means."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from node.labels import finding_of
from node.sections import Section


def _finding(text: str) -> str:
    name = finding_of(text)
    if name is None:
        raise ValueError("a finding is 1 to 64 letters, digits, blanks, '-', '_' or '/'")
    return name


Source = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 _/.-]*$", max_length=64)]
FindingName = Annotated[str, AfterValidator(_finding)]  # of a model, in any case
CodeName = Annotated[str, Field(pattern=r"^[^^]+\^[^^]+$")]  # CODE^SCHEME


class Hl7(Section):
    """`[hl7]`: reports from the reporting system, as HL7 v2 ORU^R01 over MLLP."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)  # 0: off; 2575 is the registered one
    peers: tuple[str, ...] = ()  # networks that may call; nobody else is heard
    tls: bool = False  # with certificate, key, ca and tls-client-certificates of [node]
    accession: Literal["OBR-2", "OBR-3", "OBR-18", "OBR-19", "ORC-2", "ORC-3"] = "OBR-18"
    source: Source = "hl7"
    findings: dict[str, FindingName] = Field(default_factory=dict)  # CODE or CODE^SYSTEM -> a model's finding

    @field_validator("peers")
    @classmethod
    def _are_networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ipaddress.ip_network(value, strict=False)
        return values

    @model_validator(mode="after")
    def _hears_somebody(self) -> Hl7:
        if self.port and not (self.peers and self.findings):
            lacking = "peers, who may call" if not self.peers else "findings, which codes mean what"
            raise ValueError(f"port {self.port} needs {lacking}")
        return self


class Documents(Section):
    """`[documents]`: what received reports and key object selections of peers that `may` label or review mean."""

    source: Source = "sr"  # of the labels
    findings: dict[str, FindingName] = Field(default_factory=dict)  # CODE^SCHEME -> a model's finding
    accepted: tuple[CodeName, ...] = ("113000^DCM", "113013^DCM")  # Of Interest, Best In Set (PS3.16, CID 7010)
    # Rejected for Quality Reasons, Quality Issue, Rejected for Patient Safety Reasons
    rejected: tuple[CodeName, ...] = ("113001^DCM", "113010^DCM", "113037^DCM")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Documents:
        both = sorted(set(self.accepted) & set(self.rejected))
        if both:
            raise ValueError(f"{both[0]} stands in accepted and in rejected")
        for code in self.findings:
            if code.count("^") != 1:
                raise ValueError(f"findings: {code!r} is not CODE^SCHEME, such as 36118008^SCT")
        return self
