from __future__ import annotations

import re
from pathlib import Path

import pytest

from node import config as configuration
from node.config import without_password
from node.errors import ConfigError
from node.sections import Route
from pipelines.outputs.profiles import STANDARD, Form

GOOD = """
[node]
ae-title = "AI1"
spool = "spool"
[[peer]]
name = "pacs"
ae-title = "PACS"
host = "10.0.0.1"
port = 104
[[route]]
name = "all"
pipelines = ["ct-lung"]
send-to = ["pacs"]
"""


def _load(tmp_path: Path, text: str) -> configuration.Config:
    path = tmp_path / "overread.toml"
    path.write_text(text)
    return configuration.load(path)


def test_a_good_file_gives_frozen_settings_with_paths_beside_it(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD)
    assert config.node.ae_title == "AI1" and config.node.spool == tmp_path / "spool"
    assert config.node.database == f"sqlite:///{tmp_path / 'overread.db'}"
    assert config.peer("pacs").may == ("echo",)
    with pytest.raises(Exception, match="frozen"):
        config.node.port = 1  # type: ignore[misc]


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_NODE__AE_TITLE", "AI2")
    monkeypatch.setenv("OVERREAD_NODE__PORT", "999")
    config = _load(tmp_path, GOOD)
    assert (config.node.ae_title, config.node.port) == ("AI2", 999)
    assert config.node.spool == tmp_path / "spool"


@pytest.mark.parametrize(
    ("change", "where", "reason"),
    [
        (("ae-title = \"AI1\"", "ae-titel = \"AI1\""), "node.ae-titel", "did you mean 'ae-title'?"),
        (("[node]", "[nod]"), "nod", "did you mean 'node'?"),
        (("port = 104", "port = 104\nmai = []"), "peer.0.mai", "did you mean 'may'?"),
        (("port = 104", "port = 70000"), "peer.0.port", "less than or equal to 65535"),
        (("port = 104\n", ""), "peer.0.port", "required"),
        (("send-to = [\"pacs\"]", "send-to = [\"pac\"]"), "", "did you mean 'pacs'?"),
        (("port = 104", "port = 104\nheatmap = \"video\""), "peer.0.heatmap", "'series', 'multi-frame' or 'none'"),
        (("port = 104", "port = 104\nheatmap = \"none\"\nreport = \"none\"\nsegmentation = \"none\""), "",
         "takes no kind of result"),
        (("host = \"10.0.0.1\"", "host = \"10.0.0.1\"\naddresses = [\"10.0.0.300\"]"), "addresses", "IPv4 or IPv6"),
        (("spool = \"spool\"", "database = \"mysql://x\""), "node.database", "want sqlite:///"),
        (("ae-title = \"PACS\"", "ae-title = \"A TITLE THAT IS TOO LONG\""), "peer.0.ae-title", "at most 16"),
        (("port = 104", "port = 104\ntls = true"), "", "peer 'pacs': tls wants ca"),
        (("port = 104", "port = 104\nmay = ['store']\ncertificate-names = ['a']"), "", "set tls-port, and tls-client-certificates"),
        (("port = 104", "port = 104\ncertificate-names = ['sha256:12']"), "certificate-names", "64 digits"),
        (("port = 104", "port = 104\ncount-from = 'pac'"), "", "count-from names 'pac', no such [[peer]]; did you mean 'pacs'?"),
        (("port = 104", "port = 104\nevidence = ['silence']"), "peer.0.evidence.0", "'commitment', 'count' or 'quiet'"),
        (("[node]", "[node]\ntls-port = 2762"), "node", "tls-port needs certificate"),
        (("[node]", "[node]\ntls-port = 2762\ncertificate = 'c'\nkey = 'k'"), "node", "tls-port needs ca"),
        (("[node]", "[node]\nplain = false"), "node", "no port to listen on"),
        (("[node]", "[node]\nport = 2762\ntls-port = 2762\ncertificate = 'c'\nkey = 'k'\nca = 'a'"), "node", "one each"),
        (("[node]", "[node"), "overread.toml", "is not TOML"),
        (("[node]", "[keep]\nlow-watermark = 0.9\n[node]"), "keep", "low-watermark 0.9 is above high-watermark 0.85"),
        (("[node]", "[keep]\nstudys = 3\n[node]"), "keep.studys", "did you mean 'studies'?"),
        (("pipelines = [\"ct-lung\"]", "pipelines = []"), "route.0.pipelines", "at least 1"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line_with_place_and_cure(
    tmp_path: Path, change: tuple[str, str], where: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, GOOD.replace(*change))
    text = str(caught.value)
    assert where in text and reason in text and "\n" not in text


def test_two_peers_of_one_name_are_refused(tmp_path: Path) -> None:
    extra = '[[peer]]\nname = "pacs"\nae-title = "X"\nhost = "h"\nport = 1\n'
    with pytest.raises(ConfigError, match="two .*peer.* are called 'pacs'"):
        _load(tmp_path, GOOD + extra)


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overread init"):
        configuration.load(tmp_path / "none.toml")


def test_passwords_are_never_shown(tmp_path: Path) -> None:
    assert without_password("postgresql://me:secret@db/x") == "postgresql://me@db/x"
    config = _load(tmp_path, GOOD.replace('spool = "spool"', 'database = "postgresql://me:secret@db/x"'))
    assert "secret" not in str(config.as_toml_names())


def test_the_example_that_init_writes_is_valid_and_shows_the_defaults(tmp_path: Path) -> None:
    example = Path(configuration.__file__).with_name("example.toml").read_text()
    config = _load(tmp_path, example)
    shown = config.as_toml_names()
    for section, model in (("node", configuration.Node), ("work", configuration.Work), ("send", configuration.Send), ("keep", configuration.Keep), ("watch", configuration.Watch),
                           ("hl7", configuration.Hl7), ("documents", configuration.Documents)):
        defaults = model().model_dump(mode="json", by_alias=True)
        assert set(shown[section]) == set(defaults)
        differing = {key for key in defaults if shown[section][key] != defaults[key]}
        assert differing <= {"spool", "database"}, section
        for key in defaults:
            assert f"\n{key} = " in example, f"{section}.{key} is not in the example"


def test_a_peer_takes_every_output_but_the_kinds_that_it_is_spared(tmp_path: Path) -> None:
    peer = _load(tmp_path, GOOD.replace("port = 104", 'port = 104\nsegmentation = "none"')).peer("pacs")
    forms = (*sorted(STANDARD.forms, key=str), None)  # None: a kind of another pipeline
    assert [str(form) for form in forms if not peer.gets.takes(form)] == ["report=tid1500", "segmentation=binary"]
    assert peer.gets.takes(Form("report", "tid1500", refers="none"))  # it names no segmentation that the peer lacks


def test_files_of_tls_are_sought_beside_the_configuration(tmp_path: Path) -> None:
    config = _load(
        tmp_path, GOOD.replace("[node]", '[node]\ncertificate = "certs/node.pem"\nca = "/etc/ca.pem"\nkey = ""')
    )
    assert config.node.certificate == tmp_path / "certs" / "node.pem"
    assert config.node.ca == Path("/etc/ca.pem") and config.node.key is None


def test_a_candidate_without_its_pipeline_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to be compared with"):
        Route(name="a", pipelines=("ct-lung",), shadow=("cxr-triage@1.1.0",))
    with pytest.raises(ValueError, match="pattern"):
        Route(name="a", pipelines=("ct-lung",), shadow=("ct-lung",))
@pytest.mark.parametrize(("text", "says"), [
    ('host = "0.0.0.0"\nport = 8042', "is reached from other machines: set tls = true, or plain = true"),
    ("port = 8042\ntls = true", "web: tls wants certificate and key in [node]"),
    ("prot = 8042", "did you mean 'port'?"),
])  # fmt: skip
def test_a_web_port_that_is_open_by_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        _load(tmp_path, f"{GOOD}\n[web]\n{text}\n")


def test_a_web_port_on_this_machine_or_behind_a_proxy_is_taken(tmp_path: Path) -> None:
    web = _load(tmp_path, f'{GOOD}\n[web]\nport = 8042\ntoken-file = "tokens"\n').web
    assert web.is_local and web.token_file == tmp_path / "tokens"
    for host in ("::1", "localhost", "127.0.0.5"):
        assert _load(tmp_path, f'{GOOD}\n[web]\nport = 8042\nhost = "{host}"\n').web.is_local
    assert not _load(tmp_path, f'{GOOD}\n[web]\nport = 8042\nhost = "0.0.0.0"\nplain = true\n').web.is_local
