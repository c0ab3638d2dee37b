"""Finds model packages in folders, verifies their digests and refuses the rest. Never downloads; imports no torch to
look."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.card import FILE_NAME, ModelCard, read_card
from models.errors import BadModel


def bundled() -> Path:
    """The folder of the packages that come with Overread."""
    return Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Package:
    """A model package: its card and the folder that holds card and weights."""

    card: ModelCard
    folder: Path

    def read(self, name: str) -> bytes:
        """The bytes of weights file ``name``, verified as they are read. Raises BadModel."""
        file = self.folder / name
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise BadModel(f"{file}: the weights file is missing; install the package {self.card.name} again") from None
        except OSError as error:
            raise BadModel(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
        found, expected = hashlib.sha256(content).hexdigest(), self.card.weights[name]
        if found != expected:
            raise BadModel(
                f"{file}: sha256 is {found[:12]}…, the card says {expected[:12]}…; the file was changed or damaged, "
                f"install the package {self.card.name} again"
            )
        return content

    def verify(self) -> None:
        """Raises BadModel unless every weights file is there with the digest of the card."""
        for name in self.card.weights:
            self.read(name)


class Shelf:
    """Model packages in ``folders``, one folder per package with a ``card.toml``; the bundled packages always come
    first."""

    def __init__(self, *folders: Path | str) -> None:
        own = bundled()
        self.folders = (own, *(Path(f) for f in folders if Path(f).resolve() != own.resolve()))
        self._only: str | None = None
        self._without: Collection[str] = ()

    def only(self, version: str) -> Shelf:
        """The same shelf, where whoever asks for no version gets this one."""
        shelf = copy(self)
        shelf._only = version
        return shelf

    def without(self, versions: Collection[str]) -> Shelf:
        """The same shelf, where whoever asks for no version gets none of these."""
        shelf = copy(self)
        shelf._without = versions
        return shelf

    def _cards(self) -> tuple[list[Package], list[BadModel]]:
        good, bad = [], []
        for folder in self.folders:
            if not folder.is_dir():
                bad.append(
                    BadModel(
                        f"{folder}: there is no such folder of models; create it or take it out of the configuration"
                    )
                )
                continue
            for file in sorted(folder.glob(f"*/{FILE_NAME}")):
                try:
                    good.append(Package(read_card(file), file.parent))
                except BadModel as error:
                    bad.append(error)
        return good, bad

    def names(self) -> tuple[str, ...]:
        """Names of the packages whose cards can be read, each once."""
        return tuple(dict.fromkeys(p.card.name for p in self._cards()[0]))

    def cards(self) -> tuple[ModelCard, ...]:
        """The cards that can be read, of every version."""
        return tuple(package.card for package in self._cards()[0])

    def problems(self) -> tuple[str, ...]:
        """One line for each folder or card that cannot be read, and each package whose weights are refused."""
        good, bad = self._cards()
        for package in good:
            try:
                package.verify()
            except BadModel as error:
                bad.append(error)
        return tuple(str(error) for error in bad)

    def find(self, name: str, version: str | None = None) -> Package:
        """The verified package ``name``: that ``version``, else the one that `only` says, else the highest that
        `without` does not leave out; of equals the earlier folder's. Raises BadModel."""
        good, bad = self._cards()
        version = version or self._only
        left_out = self._without if version is None else ()
        fitting = [
            p for p in good
            if p.card.name == name and version in (None, p.card.version) and p.card.version not in left_out
        ]  # fmt: skip
        if not fitting:
            for error in bad:
                if Path(str(error).split(": ")[0]).parent.name == name:
                    raise error
            known = ", ".join(sorted({f"{p.card.name} {p.card.version}" for p in good})) or "none"
            wanted = name if version is None else f"{name} {version}"
            raise BadModel(f"{wanted}: no such model in {', '.join(map(str, self.folders))}; there are: {known}")
        best = max(fitting, key=lambda p: tuple(int(n) for n in p.card.version.split(".")))
        best.verify()
        return best

    def load(self, name: str, device: str = "auto", precision: str = "auto", version: str | None = None) -> Any:
        """Load ``name`` onto ``device`` ("auto", "cpu", "cuda", "cuda:1"): a :class:`models.runtime.Model` or a
        :class:`models.radiographs.RadiographModel`, as its network is one for volumes or for radiographs. Raises
        BadModel; imports torch now, not before."""
        package = self.find(name, version)
        if package.card.format not in FORMATS:
            raise BadModel(
                f"{package.folder / FILE_NAME}: format {package.card.format!r} is not known; "
                f"known formats: {', '.join(sorted(FORMATS))}"
            )
        reader = importlib.import_module(f"models.formats.{package.card.format}")
        return reader.load(package, device, precision)


FORMATS = frozenset(f.stem for f in (Path(__file__).parent / "formats").glob("*.py") if f.stem != "__init__")
