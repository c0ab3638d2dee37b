"""What results say in words: findings as short lines, and text that fits into a source's character set (PS3.5 6.1)."""

from __future__ import annotations

import unicodedata

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from pipelines.outputs.codes import Code
from pipelines.outputs.parts import Evaluation, Finding, Measurement

_UNITS = {"[hnsf'U]": "HU", "1": "", "mm2": "mm²", "cm2": "cm²", "mm3": "mm³", "cm3": "cm³", "Cel": "°C", "ml": "ml"}
_ASCII = {
    "–": "-", "—": "-", "−": "-", "•": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "×": "x", "≥": ">=",
    "≤": "<=", "±": "+/-", "≈": "~", "µ": "u", "μ": "u", "°": " degrees ", "ß": "ss", "æ": "ae", "ø": "o",
}  # fmt: skip


def quantity(one: Measurement) -> str:
    """The name of what was measured, with how it was summed up: "Attenuation Coefficient (Mean)"."""
    return f"{one.name.meaning} ({one.derivation.meaning})" if one.derivation else one.name.meaning


def amount(one: Measurement) -> str:
    """The value with its unit: "-812.3 HU"."""
    return f"{format_number_as_ds(float(one.value))} {unit(one.unit)}".strip()


def unit(of: Code) -> str:
    """A UCUM unit as people write it; empty for a plain number."""
    return _UNITS.get(of.value, of.value.strip("{}"))


def evaluated(one: Evaluation) -> str:
    """What an evaluation says, without its name."""
    return one.value if isinstance(one.value, str) else one.value.meaning


def place(finding: Finding) -> str:
    """Where the finding was looked for: "Left Lung"; empty where it is not said."""
    return " ".join(one.meaning for one in (finding.laterality, finding.site) if one)


def negative(finding: Finding) -> str:
    """What is said of a finding that was looked for and not seen."""
    where = place(finding)
    return f"{finding.tracking_id}: not seen{f' ({where})' if where else ''}"


def summary(finding: Finding) -> str:
    """A finding in one line: its name, and every value or evaluation."""
    if finding.key is None:
        return "; ".join([negative(finding), *(f"{one.name.meaning} {evaluated(one)}" for one in finding.evaluations)])
    told = [f"{quantity(one)} {amount(one)}" for one in finding.measurements]
    told += [f"{one.name.meaning} {evaluated(one)}" for one in finding.evaluations]
    return f"{finding.tracking_id}: {'; '.join(told)}" if told else finding.tracking_id


def writable(text: str, source: Dataset) -> str:
    """`text` with every character that the source's Specific Character Set cannot hold in place of a plain one.

    A result has its source's character set, so that the patient's name stays as it is byte for byte; our own words
    bend to it. Of several sets (ISO 2022) only the first is used.
    """
    stated = source.get("SpecificCharacterSet") or ""
    first = stated if isinstance(stated, str) else (list(stated) or [""])[0]
    encoding = "ascii" if first in ("", None, "ISO_IR 6", "ISO 2022 IR 6") else python_encoding.get(first, "ascii")
    return "".join(one if _fits(one, encoding) else plain(one) for one in text)


def _fits(character: str, encoding: str) -> bool:
    if character.isascii():
        return True
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return not encoding.startswith(("iso2022", "shift_jis"))  # where a half-width set is told apart by code extensions


def plain(character: str) -> str:
    """The character in ASCII: its letters without marks, or "?"."""
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _ASCII.get(character) or bare.strip() or (" " if character.isspace() else "?")
