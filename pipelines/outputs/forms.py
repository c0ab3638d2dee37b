"""What a pipeline found, in the forms that its destinations want: one table from kinds of form to what makes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.base import Output
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.profiles import Form
from pipelines.outputs.report import STYLES, Report
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
        found += [Shaped(make(output, form), form) for form, make in ours]
        if not isinstance(output, _KINDS):
            found.append(Shaped(output, None))
    return found


def _segmentation(output: Segmentation, form: Form) -> Output:
    return replace(output, name=form.name(output.name), how=form.how, empty_frames=form.empty_frames,
                   most_frames=form.most_frames)  # fmt: skip


def _report(output: Report, form: Form) -> Output:
    """The report in a style, which refers to the segmentation in the form that its destination holds, or to none."""
    segmentation = output.segmentation
    if segmentation is not None:
        held = Form("segmentation", form.refers)
        segmentation = None if form.refers == "none" else replace(
            segmentation, name=held.name(segmentation.name), how=form.refers
        )  # fmt: skip
    return replace(output, name=form.name(output.name), style=STYLES[form.how], segmentation=segmentation)


def _heatmap(output: Heatmap, form: Form) -> Output:
    return output


_KINDS = (Segmentation, Report, Heatmap)
_NONE: tuple[type | tuple[type, ...], Any] = ((), None)
_MAKERS: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Form], Output]]] = {
    "segmentation": (Segmentation, _segmentation),
    "report": (Report, _report),
    "heatmap": (Heatmap, _heatmap),
}
