"""The configuration: one TOML file and the environment become frozen settings; an unknown key names the nearest one.

Keys are kebab-case in the file. An environment variable `OVERREAD_NODE__AE_TITLE` (section, two underscores,
key) overrides the file's `ae-title` in `[node]`.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from node.errors import ConfigError
from pipelines.outputs.profiles import PROFILES, Heatmap, Profile, Report, Segmentation, with_changes

AETitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$", max_length=16)]  # PS3.5, VR AE
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=AliasGenerator(validation_alias=_kebab, serialization_alias=_kebab),
        populate_by_name=True,
    )


class Node(_Section):
    """`[node]`: who we are, where we listen, where bytes and state live, and the limits at the door."""

    ae_title: AETitle = "OVERREAD"
    host: str = "0.0.0.0"
    port: int = Field(11112, ge=0, le=65535)
    spool: Path = Path("spool")
    database: str = "sqlite:///overread.db"
    max_associations: int = Field(32, ge=1)
    max_associations_per_address: int = Field(16, ge=1)
    max_pdu: int = Field(131072, ge=4096, le=1 << 20)  # bytes
    acse_timeout: float = Field(10, gt=0)  # seconds; so are the next three
    dimse_timeout: float = Field(30, gt=0)
    network_timeout: float = Field(60, gt=0)
    idle_pdu_timeout: float = Field(15, gt=0)
    min_free_disk: int = Field(2 << 30, ge=0)  # bytes; below it we answer 0xA700
    quiet_time: float = Field(5, ge=0)  # seconds, for studies that no route takes
    longest_wait: float = Field(600, gt=0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False

    @field_validator("database")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("want sqlite:///FILE or postgresql://USER@HOST/NAME")
        return url


class Work(_Section):
    """`[work]`: how jobs run."""

    device: str = "auto"  # auto | cpu | cuda | cuda:N
    models: tuple[Path, ...] = ()  # a site's own model folders, beside the bundled ones
    time_limit: float = Field(1800, gt=0)  # seconds for one job
    attempts: int = Field(3, ge=1)
    lease: float = Field(30, gt=1)  # seconds; renewed while the job runs
    retry_after: float = Field(5, ge=0)  # seconds before the second attempt, doubled each time


class Send(_Section):
    """`[send]`: how results are delivered."""

    attempts: int = Field(20, ge=1)
    lease: float = Field(300, gt=1)  # seconds
    retry_after: float = Field(5, ge=0)
    longest_wait: float = Field(900, gt=0)  # seconds between two attempts at most


class Peer(_Section):
    """`[[peer]]`: a remote application entity: where it is and what it may do here."""

    name: Name
    ae_title: AETitle
    host: str
    port: int = Field(ge=1, le=65535)
    may: tuple[Literal["echo", "store"], ...] = ("echo",)
    addresses: tuple[str, ...] = ()  # networks it may call from; default: its host
    associations: int = Field(1, ge=1, le=16)  # at once, when many results of one output go to it
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

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ipaddress.ip_network(value, strict=False)
        return values


class Route(_Section):
    """`[[route]]`: which studies run which pipelines, and who gets the results. `match` is read by node.routes."""

    name: Name
    match: dict[str, Any] = Field(default_factory=dict)
    from_peers: tuple[Name, ...] = Field((), validation_alias="from", serialization_alias="from")
    pipelines: tuple[Name, ...] = Field(min_length=1)
    send_to: tuple[Name, ...] = ()
    quiet_time: float | None = Field(None, ge=0)
    longest_wait: float | None = Field(None, gt=0)
    priority: int = Field(0, ge=-10, le=10)
    say_unsuitable: bool = False  # send a report that says why a pipeline did not run


class Config(BaseSettings):
    """The whole configuration, frozen."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="OVERREAD_", env_nested_delimiter="__", populate_by_name=True
    )

    node: Node = Node()
    work: Work = Work()
    send: Send = Send()
    peers: tuple[Peer, ...] = Field((), validation_alias="peer", serialization_alias="peer")
    routes: tuple[Route, ...] = Field((), validation_alias="route", serialization_alias="route")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (_Environment(settings_cls), init_settings)

    @model_validator(mode="after")
    def _names_hold(self) -> Config:
        peers = [peer.name for peer in self.peers]
        routes = [route.name for route in self.routes]
        for kind, names in (("peer", peers), ("route", routes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two [[{kind}]] are called {twice[0]!r}: give each its own name")
        for route in self.routes:
            for key, wanted in (("send-to", route.send_to), ("from", route.from_peers)):
                for name in wanted:
                    if name not in peers:
                        raise ValueError(
                            f"route {route.name!r}: {key} names {name!r}, no such [[peer]]{nearest(name, peers)}"
                        )
            for name in route.send_to:
                if not self.peer(name).gets.forms:
                    raise ValueError(
                        f"route {route.name!r}: send-to names {name!r}, which takes no kind of result: "
                        "give it a profile, segmentation, report or heatmap, or leave it out"
                    )
        return self

    def peer(self, name: str) -> Peer:
        """The peer of that name; ConfigError when there is none."""
        for peer in self.peers:
            if peer.name == name:
                return peer
        raise ConfigError(f"peer {name!r}", f"no such [[peer]]{nearest(name, [p.name for p in self.peers])}")

    def as_toml_names(self) -> dict[str, Any]:
        """The effective configuration with the file's own key names; URLs lose their password."""
        shown = self.model_dump(mode="json", by_alias=True)
        shown["node"]["database"] = without_password(self.node.database)
        return shown


class _Environment(EnvSettingsSource):
    """OVERREAD_NODE__AE_TITLE and the like; only for the plain sections, in the file's own (kebab) keys."""

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for variable, value in os.environ.items():
            section, _, key = variable.removeprefix("OVERREAD_").partition("__")
            if variable.startswith("OVERREAD_") and key and section.lower() in ("node", "work", "send"):
                found.setdefault(section.lower(), {})[_kebab(key.lower())] = value
        return found


def load(path: Path) -> Config:
    """Read and check `path`; relative paths in it count from its folder. Raises ConfigError with one clear line."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(str(path), "no such file; `overread init` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"is not TOML: {error}") from error
    try:
        config = Config(**raw)
    except ValidationError as error:
        raise ConfigError(*_one_line(path, error)) from error
    return _anchored(config, path.resolve().parent)


def without_password(url: str) -> str:
    """A database URL that may be shown or logged."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{place}"


def _anchored(config: Config, folder: Path) -> Config:
    database = config.node.database
    if database.startswith("sqlite:///") and not database.startswith("sqlite:////"):
        database = f"sqlite:///{folder / database.removeprefix('sqlite:///')}"
    node = config.node.model_copy(update={"spool": folder / config.node.spool, "database": database})
    work = config.work.model_copy(update={"models": tuple(folder / path for path in config.work.models)})
    return config.model_copy(update={"node": node, "work": work})


_SECTIONS: Mapping[str, type[BaseModel]] = {"node": Node, "work": Work, "send": Send, "peer": Peer, "route": Route}


def _known_keys(section: str | int | None) -> list[str]:
    model = _SECTIONS.get(str(section))
    if model is None:
        return list(_SECTIONS)
    return [str(field.validation_alias or _kebab(name)) for name, field in model.model_fields.items()]


def _one_line(path: Path, error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    location = [part for part in first["loc"] if part != "function-after"]
    where = f"{path}: " + ".".join(str(part) for part in location) if location else str(path)
    if first["type"] == "extra_forbidden":
        key = str(location[-1])
        return where, f"unknown key{nearest(key, _known_keys(location[0] if len(location) > 1 else None))}"
    if first["type"] == "missing":
        return where, "this key is required"
    return where, str(first["msg"]).removeprefix("Value error, ")


def nearest(name: str, known: list[str]) -> str:
    """The end of an error line: the known name that is most like `name`, or all known names."""
    close = difflib.get_close_matches(_kebab(name), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known)) or 'none'}"
