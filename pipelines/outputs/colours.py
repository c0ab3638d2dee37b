"""Colours: CIELab <-> sRGB, and the colour map of heatmaps, computed so that lightness rises with the value."""

from __future__ import annotations

import math

import numpy as np

# CIE 1931 2 degrees, D50: the white of DICOM's PCS-Values (PS3.3 C.10.7.1.1); sRGB matrices adapted by Bradford.
_WHITE = np.array([0.96422, 1.0, 0.82521])
_XYZ_TO_RGB = np.array([[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
                        [0.0719453, -0.2289914, 1.4052427]])  # fmt: skip
_RGB_TO_XYZ = np.linalg.inv(_XYZ_TO_RGB)


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """CIELab (..., 3) to sRGB uint8 (..., 3); what lies outside sRGB is clipped."""
    lab = np.asarray(lab, dtype=np.float64)
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _WHITE
    linear = np.clip(xyz @ _XYZ_TO_RGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)


def rgb_to_lab(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """An sRGB colour (0..255 each) as CIELab, the form of Segment.colour."""
    encoded = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return float(116 * f[1] - 16), float(500 * (f[0] - f[1])), float(200 * (f[1] - f[2]))


def lab_from_dicom(values: list[int]) -> tuple[float, float, float]:
    """Recommended Display CIELab Value (three 16-bit numbers) as CIELab (PS3.3 C.10.7.1.1)."""
    return values[0] / 0xFFFF * 100, values[1] / 0x8080 * 128 - 128, values[2] / 0x8080 * 128 - 128


def heat_colours(steps: int = 256) -> np.ndarray:
    """A colour map, sRGB uint8 (steps, 3): from dark violet over red and orange to pale yellow.

    CIELab lightness rises evenly from 25 to 95, so that it is read in the right order without colour vision and on a
    grey print; hue turns once through the warm side, chroma is eased at both ends to stay inside sRGB.
    """
    t = np.linspace(0, 1, steps)
    hue = np.radians(310 + 150 * t)
    chroma = 28 + 50 * np.sin(math.pi * np.clip(t * 0.92 + 0.04, 0, 1))
    lab = np.stack([25 + 70 * t, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    return lab_to_rgb(lab)


# Two colours that stay apart for every kind of colour vision, and on grey CT.
LEFT_COLOUR = rgb_to_lab((72, 160, 255))
RIGHT_COLOUR = rgb_to_lab((255, 152, 48))
