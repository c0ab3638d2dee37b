"""What people read of an alarm: one line, a message, and the whole page of `overread alarms ID`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_CAUSES = {
    "prevalence": "More or fewer patients have the finding; that alone explains the change. The images look as before.",
    "acquisition": "The mix of findings does not explain it: how images are made, or what is sent here, has changed.",
    "both": "The mix of findings has changed, but that explains only a part: look at how images are made, too.",
    "unclear": "Too little to tell whether the patients or the images changed.",
}
_KINDS = {
    "limit": "A fixed limit, not a statistic: it is over when its cause is.",
    "silence": "Look at the sender, the network and the forwarding rule. It is over with the next study.",
    "golden": "Weights, driver, library or preprocessing changed: do not rely on the model until someone has looked. "
    "It is over when a run agrees again, or a person accepts the new result.",
}
_NEXT = {
    1: "Look at one of the examples: are slices or attributes missing? Ask who changed the export or the protocol.",
    2: "Was a device, its software or a protocol changed? If so and results are good, accept a new baseline.",
    3: "Ask whether the protocol was changed. Compare one of the examples with a study from before.",
    4: "Open two of the examples beside older studies: exposure, markers, collimation, window of the export.",
    5: "Open some of the examples: the model sees other images than before. Look first at the device that is named.",
    6: "Open some of the examples: single studies lie far from all that the model was watched on.",
    7: "Open some of the examples with their results. A wrong result there is worth more than any statistic.",
    8: "Open some of the examples: the model is less sure than before. Are its results still right?",
    9: "Look at the machine: what else runs on it, the disk, the network; `overread status` has failures.",
    10: "Read the disagreeing reports. If the model is wrong, do not rely on it until someone has looked.",
    11: "The model's probabilities do not hold any more. Do not rely on them until someone has looked.",
    12: "Look whether this group alone is concerned, and open some of the examples of it.",
}


def when(seconds: float) -> str:
    """A time, local, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def short(body: Mapping[str, Any]) -> str:
    """One line: the subject of a mail."""
    event, where = str(body.get("event", "")), _where(str(body.get("family", "")))
    if event == "notice":
        return f"notice: {body.get('says', '')} ({where})"
    says = body.get("story", {}).get("says", body.get("channel", ""))
    if body.get("episode", body.get("alarm")) != body.get("alarm"):
        where = f"{where}; belongs to alarm {body['episode']}"
    verb = {"alarm.opened": "alarm", "alarm.escalated": f"alarm not acknowledged for {body.get('hours', 0):g} hours",
            "alarm.cleared": "alarm over"}.get(event, event)  # fmt: skip
    return f"{verb} {body.get('alarm', '')}: {says} ({where})"


def message(body: Mapping[str, Any]) -> str:
    """A mail's text."""
    lines = [short(body), ""]
    if "story" in body:
        alarm = {**body, "id": body.get("alarm"), "state": "open"}
        lines += [*page(alarm), "", f"overread alarm ack {body.get('alarm')} --by NAME --why TEXT"]
    elif body.get("study_uid"):
        lines.append(f"First study: {body['study_uid']}")
    return "\n".join(lines) + "\n"


def page(alarm: Mapping[str, Any]) -> list[str]:
    """All that is known of an alarm."""
    story = alarm["story"]
    lines = [
        f"Alarm {alarm['id']}: {story.get('says', alarm['channel'])}", "",
        f"  model      {_where(alarm['family'])}",
        f"  channel    {alarm['channel']}",
        f"  state      {_state(alarm)}",
    ]  # fmt: skip
    if alarm.get("episode", alarm["id"]) != alarm["id"]:
        lines.append(f"  belongs to alarm {alarm['episode']}, which opened before: likely one cause")
    if alarm["kind"] != "drift":
        return [*lines, f"  raised     {when(alarm['opened_at'])}", "", _KINDS[str(alarm["kind"])]]
    lines += [
        f"  since      about {when(story['since'])}, study {story['since_study']}",
        f"  raised     {when(alarm['opened_at'])}, after {story['studies']} studies from then on",
        f"  evidence   {story['statistic']:,.0f}, alarm from {story['threshold']:,.0f}"
        + ("" if story["alone"] else " (with other channels; none alone)"),
    ]
    if "observed_to_expected" in story:
        ratio, low, high = story["observed_to_expected"]
        lines.append(
            f"  labels     {story['labels']}: reported {ratio:.2f} x what was promised (95 %: {low:.2f} to {high:.2f})"
        )
    elif "false" in story:
        lines.append(f"  reports    {story['labels']}: {story['false']} false, {story['missed']} missed")
    lines += ["", f"Before and after (the last {story['compared_with']} studies)", *_tables(story)]
    if story["devices"]:
        lines += ["", "By device", *_devices(story["devices"])]
    lines += ["", "Patients or images?", f"  {_cause(story['cause'])}"]
    lines += ["", f"Examples ({len(story['examples'])} studies, the newest last)"]
    lines += [f"  {uid}" for uid in story["examples"]]
    return [*lines, "", "What to do", f"  {_NEXT.get(story['group'], 'Look at the examples.')}"]


def _where(family: str) -> str:
    parts = family.split("|")
    return f"{parts[0]}, {parts[1]}, at {parts[2]}" if len(parts) == 3 else family


def _state(alarm: Mapping[str, Any]) -> str:
    told = str(alarm["state"])
    if alarm.get("acknowledged_by"):
        told += f"; acknowledged by {alarm['acknowledged_by']} {when(alarm['acknowledged_at'])}"
    if alarm.get("resolution"):
        told += f"; resolved as {alarm['resolution']} by {alarm['resolved_by']}: {alarm['why']}"
        if alarm["state"] == "resolved" and alarm["resolution"] == "accepted-change":
            told += " (waits for a new baseline)"
    if alarm.get("cleared_at"):
        told += f"; over since {when(alarm['cleared_at'])}"
    if alarm.get("muted_until"):
        told += f"; muted until {when(alarm['muted_until'])}"
    return told


def _tables(story: Mapping[str, Any]) -> list[str]:
    shown = list(story["differences"])
    if story["own"] is not None and all(one["feature"] != story["own"]["feature"] for one in shown):
        shown.insert(0, story["own"])
    if not shown:
        return [f"  none of {story['compared']} features differs by itself (tests corrected for their number)"]
    lines = []
    for one in shown:
        lines.append(f"  {one['feature']}")
        lines += [f"    {line}" for line in _sides(one["before"], one["after"])]
    return lines


def _sides(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    if "mean" in before or "mean" in after:
        lines = []
        for word, side in (("before", before), ("after", after)):
            missing = f", {side['missing']:.0%} missing" if side.get("missing") else ""
            told = (
                f"mean {side['mean']:.4g}, half of them {side['p25']:.4g} to {side['p75']:.4g}"
                if "mean" in side
                else "no value"
            )
            lines.append(f"{word:<7}{told}{missing} ({side['count']:.0f} studies)")
        return lines
    names = [name for name in {**after, **before} if name.startswith("share of ")]
    names.sort(key=lambda name: -abs(after.get(name, 0.0) - before.get(name, 0.0)))
    lines = [
        f"{name.removeprefix('share of '):<28} {before.get(name, 0.0):>5.0%} -> {after.get(name, 0.0):.0%}"
        for name in names[:5]
    ]
    if before.get("missing") or after.get("missing"):
        lines.append(f"{'missing':<28} {before['missing']:>5.0%} -> {after['missing']:.0%}")
    return lines


def _devices(devices: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for one in devices[:8]:
        word = "new here" if not one["before"] else "differs" if one["found"] else "as before"
        if one["before"] and "p" not in one:
            word = f"{one['before']} in the baseline"
        lines.append(f"  {one['device']:<28} {one['studies']:>4} studies  {word}")
    return lines


def _cause(cause: Mapping[str, Any] | None) -> str:
    if cause is None:
        return "Cannot be told: the model gives no probabilities here, or too few studies came since."
    told = _CAUSES[str(cause["verdict"])]
    return f"{told} ({cause['finding']}: {cause['before']:.1%} before, {cause['after']:.1%} after)"
