"""Certificates: a private CA with what it signs, for a trial, and reading what a site has (X.509, RFC 5280)."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.errors import ConfigError

_BITS = 3072  # of an RSA key: older DICOM software knows no other kind
_CA_DAYS, _DAYS = 5 * 365, 365
_EARLIER = datetime.timedelta(hours=1)  # clocks in a hospital differ


@dataclass(frozen=True)
class Made:
    """A certificate and its key, and whether they were there before."""

    certificate: Path
    key: Path
    kept: bool


@dataclass(frozen=True)
class Facts:
    """What a certificate says. Times are UTC."""

    subject: str
    issuer: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    public_key: bytes


class Authority:
    """A private CA: `ca.pem` and `ca.key` in `folder`, made where they are not there.

    Keys are readable by their owner only, and no file is ever overwritten. Raises ConfigError for what is in the way.
    """

    def __init__(self, folder: Path, bits: int = _BITS) -> None:
        self._bits = bits
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(str(folder), f"cannot be made ({error.strerror})") from error
        self.made = Made(folder / "ca.pem", folder / "ca.key", kept=_are_there(folder / "ca.pem", folder / "ca.key"))
        if self.made.kept:
            self._certificate = _first(self.made.certificate)
            self._key = _rsa_key(self.made.key)
            return
        self._key = rsa.generate_private_key(65537, bits)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Overread trial CA {os.urandom(4).hex()}")])
        builder = _builder(name, name, self._key.public_key(), _CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = builder.add_extension(_usage(signs=True), critical=True).sign(self._key, hashes.SHA256())
        _write_both(self.made, self._certificate, self._key)

    def issue(self, file: str, name: str, hosts: Sequence[str] = (), days: float = _DAYS) -> Made:
        """`file`.pem and `file`.key: a certificate whose CN and first DNS name is `name`, also for `hosts`
        (names and addresses), valid for `days` as server and as client."""
        made = Made(self._folder / f"{file}.pem", self._folder / f"{file}.key", kept=False)
        if _are_there(made.certificate, made.key):
            return Made(made.certificate, made.key, kept=True)
        key = rsa.generate_private_key(65537, self._bits)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._certificate.subject, key.public_key(), days)
        others = [_general_name(host) for host in dict.fromkeys((name, *hosts))]
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        builder = builder.add_extension(authority, critical=False)
        _write_both(made, builder.sign(self._key, hashes.SHA256()), key)
        return made


def read(path: Path) -> Facts:
    """The facts of the first certificate in a PEM file. Raises ConfigError."""
    certificate = _first(path)
    return Facts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        public_key=_encoded(certificate.public_key()),
    )


def key_of(path: Path) -> bytes:
    """The public half of a private key, as `Facts.public_key` has it. Raises ConfigError."""
    return _encoded(_private(path).public_key())


def hosts_of(names: Sequence[str]) -> Iterator[str]:
    """Those of `names` that a certificate can be issued for: no wildcard addresses such as 0.0.0.0."""
    for name in names:
        try:
            if ipaddress.ip_address(name).is_unspecified:
                continue
        except ValueError:  # a host name
            pass
        yield name


def _first(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_bytes(path))
    except ValueError as error:
        raise ConfigError(str(path), "holds no certificate in PEM") from error


def _rsa_key(path: Path) -> rsa.RSAPrivateKey:
    key = _private(path)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError(str(path), "is no RSA key: no CA that this command made")
    return key


def _private(path: Path) -> Any:
    try:
        return serialization.load_pem_private_key(_bytes(path), None)
    except TypeError as error:
        raise ConfigError(str(path), "is encrypted; a node starts without a person: give it a key without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(str(path), "holds no private key in PEM") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})") from error


def _encoded(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, days: float) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    begin = min(now, end) - _EARLIER
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=not signs, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        try:
            return x509.DNSName(host)
        except ValueError as error:
            raise ConfigError(repr(host), "is no name that a certificate can carry: plain ASCII is needed") from error


def _are_there(certificate: Path, key: Path) -> bool:
    """Whether both are there. Raises ConfigError when only one is: it would be overwritten, or stand alone."""
    there = [path for path in (certificate, key) if path.exists()]
    if len(there) == 1:
        missing = key if there == [certificate] else certificate
        raise ConfigError(str(there[0]), f"exists without {missing.name}: move it away or bring the other back")
    return bool(there)


def _write_both(made: Made, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(made.key, encoded, 0o600)
    _write(made.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written ({error.strerror})") from error
