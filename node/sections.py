"""The sections of the configuration: what each key is, its default and its limits. Keys are kebab-case in the file;
docs/configuration.md says what each means."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, field_validator, model_validator

from node.modes import Mode
from pipelines.outputs.profiles import PROFILES, Heatmap, Profile, Report, Segmentation, with_changes

AETitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$", max_length=16)]  # PS3.5, VR AE
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
_DOTTED = r"[0-9]+(\.[0-9]+)*"
Variant = Annotated[str, Field(pattern=rf"^[a-z0-9][a-z0-9-]*@({_DOTTED}(\+code-{_DOTTED})?|code-{_DOTTED})$")]
Evidence = Literal["commitment", "count", "quiet"]  # that a study is complete; the longest wait always counts
ALL_EVIDENCE: tuple[Evidence, ...] = ("commitment", "count", "quiet")


def kebab(name: str) -> str:
    """A field's name as the file writes it."""
    return name.replace("_", "-")


class Section(BaseModel):
    """What all sections share: frozen, kebab-case keys, no unknown ones."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=AliasGenerator(validation_alias=kebab, serialization_alias=kebab),
        populate_by_name=True,
    )


class Node(Section):
    """`[node]`: who we are, where we listen, where bytes and state live, and the limits at the door."""

    ae_title: AETitle = "OVERREAD"
    host: str = "0.0.0.0"
    port: int = Field(11112, ge=0, le=65535)
    plain: bool = True  # whether `port` is listened on at all
    tls_port: int = Field(0, ge=0, le=65535)  # 0: no TLS; 2762 is the registered one
    certificate: Path | None = None  # PEM files; ours with its chain
    key: Path | None = None
    ca: Path | None = None  # who signs the certificates of peers
    tls_client_certificates: Literal["required", "none"] = "required"
    spool: Path = Path("spool")
    database: str = "sqlite:///overread.db"
    max_associations: int = Field(32, ge=1)
    max_associations_per_address: int = Field(16, ge=1)
    refusals_per_minute: int = Field(20, ge=1)  # of one address; more are an alarm
    max_pdu: int = Field(131072, ge=4096, le=1 << 20)  # bytes
    acse_timeout: float = Field(10, gt=0)  # seconds; so are the next three
    dimse_timeout: float = Field(30, gt=0)
    network_timeout: float = Field(60, gt=0)
    idle_pdu_timeout: float = Field(15, gt=0)
    min_free_disk: int = Field(2 << 30, ge=0)  # bytes; below it we answer 0xA700
    quiet_time: float = Field(5, ge=0)  # seconds, for studies that no route takes
    longest_wait: float = Field(600, gt=0)
    stop_grace: float = Field(20, ge=0)  # seconds that what runs may take to finish when the node is told to stop
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False

    @field_validator("certificate", "key", "ca", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None

    @model_validator(mode="after")
    def _listens_somewhere(self) -> Node:
        if not self.plain and not self.tls_port:
            raise ValueError("plain = false leaves no port to listen on: set tls-port")
        if self.tls_port and self.plain and self.tls_port == self.port:
            raise ValueError(f"port and tls-port are both {self.port}: plain text and TLS need one each")
        for name in ("certificate", "key", *(("ca",) if self.tls_client_certificates == "required" else ())):
            if self.tls_port and getattr(self, name) is None:
                raise ValueError(f"tls-port needs {name}: a PEM file; `overread certs` makes one")
        return self

    @property
    def knows_callers(self) -> bool:
        """Whether callers on the TLS port show a certificate."""
        return bool(self.tls_port) and self.tls_client_certificates == "required"

    @field_validator("database")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("want sqlite:///FILE or postgresql://USER@HOST/NAME")
        return url


class Work(Section):
    """`[work]`: how jobs run."""

    device: str = "auto"  # auto | cpu | cuda | cuda:N
    models: tuple[Path, ...] = ()  # a site's own model folders, beside the bundled ones
    time_limit: float = Field(1800, gt=0)  # seconds for one job
    attempts: int = Field(3, ge=1)
    lease: float = Field(30, gt=1)  # seconds; renewed while the job runs
    retry_after: float = Field(5, ge=0)  # seconds before the second attempt, doubled each time
    memory_limit: int = Field(0, ge=0)  # bytes that the model process may allocate; 0: any


class Send(Section):
    """`[send]`: how results are delivered."""

    attempts: int = Field(20, ge=1)
    lease: float = Field(300, gt=1)  # seconds
    retry_after: float = Field(5, ge=0)
    longest_wait: float = Field(900, gt=0)  # seconds between two attempts at most
    commitment_wait: float = Field(3600, gt=0)  # seconds until a storage commitment request counts as unanswered
    commitment_attempts: int = Field(3, ge=1)  # requests for one delivery


class Keep(Section):
    """`[keep]`: how long files stay in the spool, in days; 0 days: for ever, as far as the disk goes."""

    studies: float = Field(30, ge=0)  # received instances, from the last one of their study on
    results: float = Field(90, ge=0)  # from the end of their job on
    failed: float = Field(90, ge=0)  # all of a study of which a job or delivery failed, from then on
    committed: float = Field(0, ge=0)  # what we promised to a peer by storage commitment, from our answer on
    at_least: float = Field(1, ge=0)  # nothing goes before, however full the disk is
    high_watermark: float = Field(0.85, gt=0, le=1)  # of the disk in use: the oldest files go
    low_watermark: float = Field(0.75, gt=0, le=1)  # until no more than this is
    every: float = Field(60, gt=0)  # seconds between two looks

    @model_validator(mode="after")
    def _marks_are_in_order(self) -> Keep:
        if self.low_watermark > self.high_watermark:
            raise ValueError(f"low-watermark {self.low_watermark:g} is above high-watermark {self.high_watermark:g}")
        return self


class Watch(Section):
    """`[watch]`: monitoring, its budget of false alarms, and who is told."""

    enabled: bool = True
    site: str = Field("main", pattern=r"^[^|*]{1,64}$")  # families are told apart by it
    false_alarms_per_year: float = Field(2, gt=0)  # of one model at one site
    service_false_alarms_per_year: float = Field(2, gt=0)  # of its service channels together
    models: dict[Name, float] = Field(default_factory=dict)  # pipeline -> its own false alarms a year
    baseline_studies: int = Field(500, ge=100)  # at least so many make a baseline
    failures: int = Field(5, ge=1)  # jobs of one pipeline in a row that failed: an alarm
    queue_age: float = Field(3600, gt=0)  # seconds that the oldest due job may have waited
    retries: int = Field(10, ge=1)  # of jobs and deliveries within an hour
    silence_false_alarms_per_year: float = Field(2, gt=0)  # of one route that seems to have gone silent
    on_stop: Literal["review", "mark", "nothing"] = "mark"  # what the stop-rule does
    stop_tolerance: float = Field(1.5, gt=1)  # observed by expected positives, upwards or downwards
    label_maturity_days: float = Field(14, gt=0)  # until "nothing reported" counts as a negative
    escalate_after: tuple[float, ...] = (24, 72)  # hours
    webhook: str = ""  # a URL that gets JSON by POST
    email_to: tuple[str, ...] = ()
    email_from: str = "overread@localhost"
    smtp_host: str = ""
    smtp_port: int = Field(25, ge=1, le=65535)
    smtp_tls: Literal["none", "starttls", "tls"] = "none"

    @field_validator("escalate_after")
    @classmethod
    def _ascend(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(value <= 0 for value in values) or list(values) != sorted(set(values)):
            raise ValueError("want hours above 0, ascending, such as [24, 72]")
        return values

    @model_validator(mode="after")
    def _can_be_told(self) -> Watch:
        if self.email_to and not self.smtp_host:
            raise ValueError("email-to needs smtp-host: the server that takes our mail")
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ValueError("webhook wants a URL that starts with http:// or https://")
        return self

    @property
    def via(self) -> tuple[str, ...]:
        """Through what people are told, beside the log."""
        return (("webhook",) if self.webhook else ()) + (("email",) if self.email_to else ())

    def budget(self, pipeline: str) -> float:
        """False alarms a year of one pipeline's model."""
        return self.models.get(pipeline, self.false_alarms_per_year)


class Peer(Section):
    """`[[peer]]`: a remote application entity: where it is and what it may do here."""

    name: Name
    ae_title: AETitle
    host: str
    port: int = Field(ge=1, le=65535)
    may: tuple[Literal["echo", "store", "commit", "label", "review"], ...] = ("echo",)
    addresses: tuple[str, ...] = ()  # networks it may call from; default: its host
    tls: bool = False  # whether we call it over TLS
    certificate_names: tuple[str, ...] = ()  # it must show a certificate with one of them, called or calling
    max_associations: int | None = Field(None, ge=1)  # of it at once here; None: the limits of [node] alone
    associations: int = Field(1, ge=1, le=16)  # at once, when many results of one output go to it
    # Whether it keeps what we delivered: ask by storage commitment, find by C-FIND.
    commitment: Literal["none", "ask", "find"] = "none"
    quiet_time: float | None = Field(None, ge=0)  # seconds, of studies that it sends; None: that of [node]
    longest_wait: float | None = Field(None, gt=0)
    evidence: tuple[Evidence, ...] = ALL_EVIDENCE  # by which a study that it sends may count as complete
    count_from: Name | None = None  # the peer that is asked how many instances a study has that this one sends
    profile: str = "standard"  # one of PROFILES; each of the next keys changes it for this peer
    segmentation: Segmentation | None = None
    keep_empty_frames: bool | None = None
    max_frames: int | None = Field(None, ge=0)
    report: tuple[Report, ...] | None = None
    heatmap: Heatmap | None = None
    burn_contours: bool | None = None
    parametric_map: bool | None = None
    key_objects: bool | None = None
    presentation_state: bool | None = None
    pdf: bool | None = None
    root: bool | None = None

    @cached_property
    def gets(self) -> Profile:
        """In which form this peer gets each kind of result."""
        names = [field.name for field in dataclasses.fields(Profile) if field.name != "says"]
        changes = {name: getattr(self, name) for name in names}
        return with_changes(PROFILES[self.profile], {name: v for name, v in changes.items() if v is not None})

    @field_validator("profile")
    @classmethod
    def _is_a_profile(cls, name: str) -> str:
        if name not in PROFILES:
            raise ValueError(f"there is no profile {name!r}{nearest(name, list(PROFILES))}")
        return name

    @field_validator("report", mode="before")
    @classmethod
    def _several_reports(cls, value: Any) -> Any:
        """One form or a list of them; "none" is an empty list."""
        if isinstance(value, str):
            return () if value == "none" else (value,)
        return value

    @field_validator("certificate_names")
    @classmethod
    def _are_names(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_certificate_name(value) for value in values)

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ipaddress.ip_network(value, strict=False)
        return values


class Route(Section):
    """`[[route]]`: which studies run which pipelines, and who gets the results. `match` is read by node.routes."""

    name: Name
    match: dict[str, Any] = Field(default_factory=dict)
    from_peers: tuple[Name, ...] = Field((), validation_alias="from", serialization_alias="from")
    pipelines: tuple[Name, ...] = Field(min_length=1)
    send_to: tuple[Name, ...] = ()
    quiet_time: float | None = Field(None, ge=0)
    longest_wait: float | None = Field(None, gt=0)
    evidence: tuple[Evidence, ...] = ALL_EVIDENCE
    priority: int = Field(0, ge=-10, le=10)
    mode: Mode = "live"  # what becomes of its results; see node.modes
    shadow: tuple[Variant, ...] = ()  # candidates: other versions of a pipeline, run beside it, never sent
    say_unsuitable: bool = False  # send a report that says why a pipeline did not run

    @model_validator(mode="after")
    def _candidates_stand_beside_something(self) -> Route:
        for variant in self.shadow:
            if variant.partition("@")[0] not in self.pipelines:
                raise ValueError(f"shadow names {variant!r}, which has nothing to be compared with: name its pipeline "
                                 "in pipelines")  # fmt: skip
        return self


def _certificate_name(text: str) -> str:
    """In small letters, and a fingerprint without colons: as node.tls.names_of gives them."""
    kind, colon, digest = text.strip().lower().partition(":")
    if not colon:
        if not kind:
            raise ValueError("a name of a certificate is empty")
        return kind
    digest = digest.replace(":", "")
    if kind != "sha256" or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{text!r} is neither a name nor sha256: with the 64 digits of a certificate's fingerprint")
    return f"{kind}:{digest}"


def nearest(name: str, known: list[str]) -> str:
    """The end of an error line: the known name that is most like `name`, or all known names."""
    close = difflib.get_close_matches(kebab(name), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known)) or 'none'}"
