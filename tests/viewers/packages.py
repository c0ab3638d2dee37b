"""Packages from npm for the viewer test, each one pinned to a version and to the digest of its tarball.

They are kept in OVERREAD_TEST_CACHE (by default ~/.cache/overread-tests), so that they are fetched once. None of them
has code that runs when it is unpacked, and nothing is installed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing
from tests.peers import need

FETCH_SECONDS = 180


@dataclass(frozen=True)
class Package:
    """An npm package: its name, version, and the SHA-512 of its tarball in base64, as npm writes it."""

    name: str
    version: str
    sha512: str

    @property
    def folder(self) -> str:
        """The folder of the unpacked package; another digest gives another folder."""
        digest = base64.b64decode(self.sha512).hex()[:16]
        return f"{self.name.replace('/', '-').removeprefix('@')}-{self.version}-{digest}"


# OHIF as its makers built it; the driver of the browser, which has no dependencies.
OHIF = Package(
    "@ohif/app", "3.13.2", "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
)
PLAYWRIGHT = Package(
    "playwright-core",
    "1.65.1",
    "hqPpz7blSMPxWVdoeE1yiBSzXsKiVOd2k+kjCvmUywD2GPO2Dd9HfcWnq9NN0GHbNZDFgZ9JfBFr+X5/BLo0qw==",
)


def unpacked(package: Package) -> Path:
    """The folder with the files of `package`, fetched and checked where the cache lacks it.

    Skips (or fails, with OVERREAD_REQUIRE_PEERS=1) where npm or the network is missing; always fails where the tarball
    is not the pinned one.
    """
    cache = Path(os.environ.get("OVERREAD_TEST_CACHE") or Path.home() / ".cache" / "overread-tests")
    kept = cache / package.folder
    if kept.is_dir():
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        tarball = _fetch(package, Path(folder))
        check(package, tarball)
        unpack(tarball, Path(folder) / "unpacked")
        try:
            (Path(folder) / "unpacked").rename(kept)
        except OSError:  # another run of the tests was faster
            if not kept.is_dir():
                raise
    return kept


def _fetch(package: Package, folder: Path) -> Path:
    """The tarball as npm's own client fetches it."""
    wanted = f"{package.name}@{package.version}"
    npm = need("npm", "npm")
    try:
        ran = subprocess.run(
            [npm, "pack", wanted, "--ignore-scripts", "--pack-destination", str(folder)],
            cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)  # fmt: skip
        failed = "" if ran.returncode == 0 else " ".join(ran.stderr.split())[-300:]
    except subprocess.TimeoutExpired:
        failed = f"no answer in {FETCH_SECONDS} s"
    if failed:
        missing(f"{wanted} (npm)", f"npm pack did not fetch it: {failed}")
    (tarball,) = folder.glob("*.tgz")
    return tarball


def check(package: Package, tarball: Path) -> None:
    """Fails where the tarball is not the one that was pinned."""
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != package.sha512:
        raise AssertionError(f"{package.name} {package.version}: the tarball's SHA-512 is {found}, not the pinned one")


def unpack(tarball: Path, folder: Path) -> None:
    """The package's files without its source maps, which nobody reads here."""
    with tarfile.open(tarball) as packed:
        wanted = [one for one in packed if one.isfile() and not one.name.endswith(".map")]
        packed.extractall(folder, members=wanted, filter="data")
    inner = folder / "package"
    for path in inner.iterdir():
        shutil.move(str(path), folder)
    inner.rmdir()
