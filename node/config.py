"""The configuration: one TOML file and the environment become frozen settings; an unknown key names the nearest one.

Keys are kebab-case in the file. An environment variable `OVERREAD_NODE__AE_TITLE` (section, two underscores,
key) overrides the file's `ae-title` in `[node]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from node.audit_settings import Audit
from node.errors import ConfigError
from node.report_sections import Documents, Hl7
from node.sections import Keep, Node, Peer, Route, Send, Watch, Work, kebab, nearest
from node.web_settings import Web


class Config(BaseSettings):
    """The whole configuration, frozen."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="OVERREAD_", env_nested_delimiter="__", populate_by_name=True
    )

    node: Node = Node()
    work: Work = Work()
    send: Send = Send()
    keep: Keep = Keep()
    watch: Watch = Watch()
    audit: Audit = Audit()
    hl7: Hl7 = Hl7()
    documents: Documents = Documents()
    web: Web = Web()
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
        if self.hl7.port and self.hl7.tls:
            for key in ("certificate", "key", *(("ca",) if self.node.tls_client_certificates == "required" else ())):
                if getattr(self.node, key) is None:
                    raise ValueError(f"hl7: tls wants {key} in [node]; `overread certs` makes one")
        if self.web.port and self.web.tls and (self.node.certificate is None or self.node.key is None):
            raise ValueError("web: tls wants certificate and key in [node]; `overread certs` makes them")
        for peer in self.peers:
            if "review" in peer.may or "label" in peer.may:
                self._may_say_so(peer)
            if peer.tls and self.node.ca is None:
                raise ValueError(f"peer {peer.name!r}: tls wants ca in [node], which says whose certificates we take")
            if peer.count_from is not None and peer.count_from not in peers:
                raise ValueError(
                    f"peer {peer.name!r}: count-from names {peer.count_from!r}, no such [[peer]]"
                    f"{nearest(peer.count_from, peers)}"
                )
            if peer.certificate_names and "store" in peer.may and not self.node.knows_callers:
                raise ValueError(
                    f"peer {peer.name!r}: it may store, and certificate-names wants it to show a certificate: "
                    'set tls-port, and tls-client-certificates = "required"'
                )
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

    def _may_say_so(self, peer: Peer) -> None:
        if "store" not in peer.may:
            raise ValueError(f"peer {peer.name!r}: what it says comes by storage: add store to its may")
        if "label" in peer.may and not self.documents.findings:
            raise ValueError(f"peer {peer.name!r}: it may label: say which codes mean what, in [documents] findings")

    def peer(self, name: str) -> Peer:
        """The peer of that name; ConfigError when there is none."""
        for peer in self.peers:
            if peer.name == name:
                return peer
        raise ConfigError(f"peer {name!r}", f"no such [[peer]]{nearest(name, [p.name for p in self.peers])}")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what is in force: file, environment and defaults together."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def heads_folder(self) -> Path:
        """Where the signed tree heads of the audit log go."""
        return self.audit.heads or self.node.spool.parent / "audit"

    @property
    def signing_key(self) -> Path:
        """The key that signs them."""
        return self.audit.key or self.node.spool.parent / "audit" / "key.pem"

    def as_toml_names(self) -> dict[str, Any]:
        """The effective configuration with the file's own key names; URLs lose their password."""
        shown = self.model_dump(mode="json", by_alias=True)
        shown["node"]["database"] = without_password(self.node.database)
        return shown


_PLAIN = ("node", "work", "send", "keep", "watch", "audit", "hl7", "documents", "web")  # sections that there is one of


class _Environment(EnvSettingsSource):
    """OVERREAD_NODE__AE_TITLE and the like; only for the plain sections, in the file's own (kebab) keys."""

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for variable, value in os.environ.items():
            section, _, key = variable.removeprefix("OVERREAD_").partition("__")
            if variable.startswith("OVERREAD_") and key and section.lower() in _PLAIN:
                found.setdefault(section.lower(), {})[kebab(key.lower())] = value
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
    files = {name: getattr(config.node, name) for name in ("certificate", "key", "ca")}
    anchored = {name: folder / path for name, path in files.items() if path is not None}
    node = config.node.model_copy(update={"spool": folder / config.node.spool, "database": database, **anchored})
    work = config.work.model_copy(update={"models": tuple(folder / path for path in config.work.models)})
    files = {name: path for name, path in config.audit if isinstance(path, Path)}
    audit = config.audit.model_copy(update={name: folder / path for name, path in files.items()})
    tokens = config.web.token_file
    web = config.web.model_copy(update={"token_file": None if tokens is None else folder / tokens})
    return config.model_copy(update={"node": node, "work": work, "audit": audit, "web": web})


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "node": Node, "work": Work, "send": Send, "keep": Keep, "watch": Watch, "audit": Audit, "hl7": Hl7,
    "documents": Documents, "web": Web, "peer": Peer, "route": Route,
}  # fmt: skip


def _known_keys(section: str | int | None) -> list[str]:
    model = _SECTIONS.get(str(section))
    if model is None:
        return list(_SECTIONS)
    return [str(field.validation_alias or kebab(name)) for name, field in model.model_fields.items()]


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
