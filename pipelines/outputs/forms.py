"""What a pipeline found, in the forms that its destinations want: one table from kinds of form to what makes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.base import Made, Output
from pipelines.outputs.contours import Contours
from pipelines.outputs.document import Document
from pipelines.outputs.flat_text import FlatText
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.key_objects import KeyObjects
from pipelines.outputs.multi_frame import MultiFrameHeatmap
from pipelines.outputs.origin import Source
from pipelines.outputs.parametric_map import ParametricMap
from pipelines.outputs.presentation import Presentation
from pipelines.outputs.profiles import Form
from pipelines.outputs.report import STYLES, Report
from pipelines.outputs.root import ResultReference, Root
from pipelines.outputs.segmentation import Segmentation


@dataclass(frozen=True)
class Shaped:
    """An output in one form; `form` is None for what has no forms and goes to every destination as it is."""

    output: Output
    form: Form | None


def shaped(outputs: Sequence[Output], forms: Collection[Form]) -> list[Shaped]:
    """Each output in each of the forms that are wanted, in the pipeline's order; names tell the forms apart."""
    found = []
    for output in outputs:
        ours = [(form, make) for form in sorted(forms, key=str) for of, make in [_MAKERS.get(form.kind, _NONE)]
                if isinstance(output, of)]  # fmt: skip
        found += [Shaped(make(output, form, outputs), form) for form, make in ours]
        if not isinstance(output, _KINDS):
            found.append(Shaped(output, None))
    return found


def roots(outputs: Sequence[Output], forms: Collection[Form], made: Sequence[Made]) -> list[Shaped]:
    """For each destination that wants one, a report that lists what was made for it. `made`: its objects' `kept` begin
    with their SOP Instance UIDs."""
    source = next((output for output in outputs if isinstance(output, Report)), None)
    if source is None:
        return []
    found = []
    for form in sorted((form for form in forms if form.kind == "root"), key=str):
        held = [one for one in made if one.form is None or str(one.form) in form.how.split(" + ")]
        results = [
            ResultReference(one.name, one.SOPClassUID, one.SeriesInstanceUID, tuple(uid for uid, _ in one.kept))
            for one in held
        ]
        found.append(Shaped(Root(source.volume, results, source.procedure, form.name("root")), form))
    return found


def _segmentation(output: Segmentation, form: Form, _: Sequence[Output]) -> Output:
    return replace(output, name=form.name(output.name), how=form.how, empty_frames=form.empty_frames,
                   most_frames=form.most_frames)  # fmt: skip


def _report(output: Report, form: Form, _: Sequence[Output]) -> Output:
    """The report in a style, which refers to the segmentation in the form that its destination holds, or to none."""
    segmentation = output.segmentation
    if segmentation is not None:
        held = Form("segmentation", form.refers)
        segmentation = None if form.refers == "none" else replace(
            segmentation, name=held.name(segmentation.name), how=form.refers
        )  # fmt: skip
    if form.how == "flat-text":
        return FlatText(output, form.name(output.name))
    return replace(output, name=form.name(output.name), style=STYLES[form.how], segmentation=segmentation)


def _heatmap(output: Heatmap, form: Form, _: Sequence[Output]) -> Output:
    return output if form.how == "series" else MultiFrameHeatmap(output, form.name(output.name))


def _key_objects(output: Report, form: Form, _: Sequence[Output]) -> Output:
    return KeyObjects(output, form.name(output.name))


def _presentation(output: Report, form: Form, beside: Sequence[Output]) -> Output:
    return Presentation(output, _window(output.volume, beside), form.name(output.name))


def _pdf(output: Report, form: Form, beside: Sequence[Output]) -> Output:
    heatmap = next((one for one in beside if isinstance(one, Heatmap) and one.volume is output.volume), None)
    return Document(output, output.limitations, heatmap, _window(output.volume, beside), form.name(output.name))


def _parametric_map(output: Heatmap, form: Form, _: Sequence[Output]) -> Output:
    return ParametricMap(output, name=form.name(output.name))


def _contours(output: Segmentation, form: Form, beside: Sequence[Output]) -> Output:
    """The segments, with what the report that measures them says."""
    report = next((one for one in beside if isinstance(one, Report) and one.segmentation is output), None)
    return Contours(output, report, _window(output.volume, beside), form.name(output.name))


def _window(volume: Source, beside: Sequence[Output]) -> tuple[float, float] | None:
    """The window in which the pipeline shows the same images in its heatmap."""
    return next((one.window for one in beside if isinstance(one, Heatmap) and one.volume is volume), None)


_KINDS = (Segmentation, Report, Heatmap)
_NONE: tuple[type | tuple[type, ...], Any] = ((), None)
_MAKERS: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Form, Sequence[Output]], Output]]] = {
    "segmentation": (Segmentation, _segmentation),
    "report": (Report, _report),
    "heatmap": (Heatmap, _heatmap),
    "burn-contours": (Segmentation, _contours),
    "key-objects": (Report, _key_objects),
    "parametric-map": (Heatmap, _parametric_map),
    "pdf": (Report, _pdf),
    "presentation-state": (Report, _presentation),
}
