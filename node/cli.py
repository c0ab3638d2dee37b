"""The command line: parses and prints, decides nothing. Exit codes: 0 done, 1 not done or not well, 2 wrong usage
or configuration, 3 the study is unsuitable for the pipeline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node import (
    __version__,
    audit_commands,
    baseline_commands,
    golden_commands,
    label_commands,
    release_commands,
    report_commands,
    screens,
    spool_commands,
    story_commands,
    watch_commands,
    web_commands,
)
from node import config as configuration
from node.errors import ConfigError, OverreadError
from node.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from node.options import queries as _queries

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Overread: the AI node of a PACS.")  # fmt: skip
app.add_typer(audit_commands.app, name="audit")
app.add_typer(spool_commands.app, name="spool")
app.add_typer(watch_commands.alarm_app, name="alarm")
app.add_typer(baseline_commands.app, name="baseline")
app.command()(watch_commands.watch)
app.command()(watch_commands.alarms)
app.add_typer(release_commands.routes, name="route")
app.add_typer(release_commands.reviews, name="review")
app.add_typer(label_commands.app, name="label")
app.add_typer(web_commands.app, name="web")

def _study_uid(queries: Any, wanted: str) -> str:
    found = queries.find_studies(wanted)
    if wanted in found or len(found) == 1:
        return wanted if wanted in found else found[0]
    raise typer.BadParameter(f"{len(found) or 'no'} studies start with {wanted!r}; `overread status` lists them")


@app.command()
def serve(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the node until Ctrl-C or SIGTERM."""
    from node import logs, processes
    from node.supervisor import Supervisor

    if os.environ.get("OVERREAD_END_WITH_PARENT"):
        processes.end_with_parent()
    settings = configuration.load(config)
    logs.set_up(settings.node.log_level, settings.node.log_json, "node")

    def say(facts: Any) -> None:
        node = settings.node
        places = [f"{node.host}:{facts['port']}"] if node.plain else []
        places += [f"{node.host}:{node.tls_port} over TLS"] if node.tls_port else []
        web = settings.web
        served = f"; http{'s' if web.tls else ''}://{web.host}:{web.port}/metrics" if web.port else ""
        screens.out.print(f"ready: {node.ae_title} on {' and '.join(places)}{served}", soft_wrap=True)
        sys.stdout.flush()

    raise typer.Exit(Supervisor(settings, config, say).serve())


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    study: Annotated[Path | None, typer.Option(help="A folder: why each route would or would not take it.")] = None,
    echo: Annotated[bool, typer.Option(help="C-ECHO every peer.")] = True,
    json: JsonOption = False,
) -> None:
    """Show the effective configuration and whether all it names is there."""
    from node import check as checks

    settings = configuration.load(config)
    found = checks.explain_study(settings, study) if study else checks.check(settings, echo)
    if json:
        lines = list(found)
        screens.as_json({"configuration": settings.as_toml_names(), "checks": [vars(line) for line in lines]})
        good = all(line.ok is not False for line in lines)
    else:
        if not study:
            screens.configuration(settings.as_toml_names())
        good = screens.lines(found)
    raise typer.Exit(0 if good else 1)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write a commented configuration to begin with."""
    if path.exists() and not force:
        raise ConfigError(str(path), "exists already; choose another name or give --force")
    example = Path(__file__).with_name("example.toml").read_text(encoding="utf-8")
    try:
        path.write_text(example, encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written ({error.strerror})") from error
    screens.out.print(f"wrote {path}; next: edit it, then `overread check -c {path}` and `overread serve -c {path}`",
                      soft_wrap=True)  # fmt: skip


@app.command()
def certs(
    folder: Annotated[Path, typer.Argument(help="Where the files go; what is there is kept.")],
    names: Annotated[list[str] | None, typer.Argument(help="For whom; default: each [[peer]] of the file.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a private CA and certificates for a trial of DICOM over TLS."""
    from node import trial_certificates

    settings = configuration.load(config) if config.exists() or not names else None
    made = trial_certificates.make(folder, settings, names or ())
    for one in made.all:
        screens.out.print(f"{'kept' if one.kept else 'made'} {one.certificate} and its key", markup=False)
    screens.out.print(f"\n{trial_certificates.next_steps(made)}", markup=False, soft_wrap=True)


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files, searched deeply.")],
    to: Annotated[str, typer.Option(help="The peer's name in the configuration.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Send a folder of DICOM files to a peer."""
    from node import peers
    from pipelines.study import is_dicom

    settings = configuration.load(config)
    peer = settings.peer(to)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path)]
    if not files:
        raise typer.BadParameter(f"no DICOM file under {folder}")
    answers = list(peers.store(settings, peer, files))
    refused = [answer for answer in answers if not answer.stored]
    if json:
        screens.as_json(
            [{"file": str(a.path), "status": a.status, "stored": a.stored, "reason": a.reason} for a in answers]
        )
    else:
        for answer in refused:
            screens.err.print(f"{answer.path}: {answer.reason}", markup=False, soft_wrap=True)
        screens.out.print(f"{len(answers) - len(refused)} of {len(files)} instances stored by {peer.name}")
    raise typer.Exit(1 if refused or len(answers) < len(files) else 0)


@app.command("try")
def try_(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, such as ct-lung.")],
    folder: Annotated[Path, typer.Argument(help="A folder that holds one study, or several.")],
    out: Annotated[Path, typer.Option(help="Where to write the results.")],
    profile: Annotated[str, typer.Option(help="The destination: standard, ohif, weasis, ...")] = "standard",
    device: str = "auto",
    models: Annotated[
        list[Path] | None, typer.Option(help="A folder of model packages, beside the bundled ones.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a pipeline on a folder of files: no network, no database."""
    from node import trial

    told = trial.run(pipeline, folder, out, device, tuple(models or ()), profile)
    if json:
        screens.as_json(told[0] if len(told) == 1 else told)
    else:
        for one in told:
            screens.trial(one)
    outcomes = {one["outcome"] for one in told}
    raise typer.Exit(1 if outcomes - {"done", "unsuitable"} else 0 if "done" in outcomes else 3)


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What is received, running, waiting, failed."""
    queries = _queries(configuration.load(config))
    if json:
        screens.as_json({"counts": queries.counts(), "failed": queries.failed(), "studies": queries.recent_studies()})
    else:
        screens.status(queries.counts(), queries.recent_studies())


@app.command()
def show(
    study: Annotated[str, typer.Argument(help="A StudyInstanceUID, or how it starts.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """One study's results and its time line, from the log."""
    queries = _queries(configuration.load(config))
    uid = _study_uid(queries, study)
    shown, events = queries.study(uid), queries.events(f"study/{uid}")
    if json:
        screens.as_json({"study": shown, "events": [vars(event) for event in events]})
    elif shown is not None:
        screens.study(shown, events)


@app.command()
def retry(
    what: Annotated[
        str, typer.Argument(help="job/ID or delivery/ID, as `overread status` and `show` print them, or `failed`.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Try a failed job or delivery again (`failed`: all of them)."""
    from node import again

    settings = configuration.load(config)
    one = None
    for one in again.retry(settings, _queries(settings), what):
        screens.out.print(f"{one}: due again")
    if one is None:
        screens.out.print("nothing has failed")


@app.command()
def demo(
    study: Annotated[Path | None, typer.Option(help="Your own study's folder instead of a phantom.")] = None,
    out: Annotated[Path, typer.Option(help="Where results and the contact sheet go.")] = Path("demo-out"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running for your own sender.")] = False,
) -> None:
    """A study travels: modality, node, pipeline, PACS; on this machine, over real DICOM."""
    from node import demo as demonstration

    raise typer.Exit(demonstration.run(study, out, keep))


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="The reference model to train: ct-lung or cxr-triage.")],
    out: Annotated[Path, typer.Option(help="The folder of the new model package.")],
    seed: int = 1,
    minutes: Annotated[float, typer.Option(help="At most this long.")] = 30.0,
) -> None:
    """Train a bundled reference model again, on phantoms made here."""
    from models import training

    card = training.train(model, out, seed, minutes, lambda line: screens.out.print(line, markup=False))
    screens.out.print(f"wrote {out}: {card.name} {card.version}, digest {card.digest[:16]}")


app.command()(spool_commands.purge)
app.command()(story_commands.explain)
app.command()(story_commands.inventory)
app.command()(golden_commands.golden)
app.command()(release_commands.compare)
app.command()(release_commands.promote)
app.command()(label_commands.concordance)
app.command()(report_commands.report)


def _version(wanted: bool) -> None:
    if wanted:
        screens.out.print(f"overread {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """Overread: the AI node of a PACS."""


def main() -> None:
    """The command `overread`: our own errors become one line and an exit code."""
    from models.errors import ModelError
    from pipelines.study import NotAStudy

    try:
        app()
    except ConfigError as error:
        screens.err.print(f"overread: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except (OverreadError, NotAStudy, ModelError) as error:
        screens.err.print(f"overread: {error}", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
