# ruff: noqa: E501 - a wrong file and its finding are read side by side
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.config_file import FILE_MAX_BYTES, load_settings, read_configuration
from consumer.config_rendering import render
from consumer.errors import ConfigurationError

KEY = "Zm9vYmFyc2VjcmV0"
HUB = f"Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=r;SharedAccessKey={KEY}"
LEAST = """\
source: {type: file, paths: [events.jsonl]}
admission: {topics: any}
processors:
  - {name: show, type: console}
"""


@pytest.fixture
def load(tmp_path):
    def load(text, **env):
        file = tmp_path / "inturn.yaml"
        file.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return load_settings(file, env)

    return load


@pytest.fixture
def findings(load, tmp_path):
    def findings(text, **env):
        with pytest.raises(ConfigurationError) as caught:
            load(text, **env)
        return [finding.removeprefix(f"{tmp_path}/inturn.yaml:") for finding in caught.value.findings]

    return findings


def test_the_least_configuration_loads(load):
    assert load(LEAST).processors[0].name == "show"


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file(findings):
    text = """\
    source:
      type: eventhub
      hub: 12
      conection_string: x
      start: now
      prefetch: 0
    state: {type: blobb}
    admission: {topics: all}
    processors:
      - name: keep
        type: archiv
        delivery: inturn
      - name: keep
        type: archive
        with: {pth: ./a}
        retry: {attempts: many}
        retry: 1
    admin: {port: "${NOPE}"}
    sequnce: 3
    """
    found = findings(text)
    assert found[6].startswith(
        "11:11: processors[0].type: there is no such processor; did you mean archive? "
    )
    assert found[:6] + found[7:] == [
        "3:8: source.hub: should be text: put it in quotes",
        "4:3: source.conection_string: there is no such setting; did you mean connection_string?",
        "5:10: source.start: should be earliest, latest or a time with its offset such as 2026-11-21T06:30:00Z",
        "6:13: source.prefetch: should be at least 1",
        "7:15: state.type: should be one of 'sqlite', 'blob', 'memory'; did you mean blob?",
        "8:21: admission.topics: should be any, or a list of resource ids",
        "12:15: processors[0].delivery: should be 'in_turn', 'on_arrival' or 'latest'; did you mean in_turn?",
        "15:12: processors[1].with.pth: there is no such setting; did you mean path?",
        "16:23: processors[1].retry.attempts: should be a whole number",
        "17:5: processors[1].retry: this key is here twice; the first is in line 16",
        "18:15: admin.port: the environment variable NOPE is not set, and there is no default",
        "19:1: sequnce: there is no such setting; did you mean sequence?",
    ]


WRONG = {
    "empty": ("", "1:1: the file is empty: `inturn config init` prints one to begin with"),
    "only a comment": ("# nothing\n", "1:1: the file is empty: `inturn config init` prints one to begin with"),
    "not a mapping": ("- a\n- b\n", "1:1: should be a mapping (key: value)"),
    "a tab": ("source:\n\ttype: file\n", "2:1: a tab: YAML is indented with spaces"),
    "two documents": (f"{LEAST}---\na: 1\n", "5:1: this is no YAML: but found another document"),
    "an alias of nothing": (f"{LEAST}drain: *{KEY}\n", "5:8: an alias (*) of nothing; put text that begins with * in quotes"),
    "a tag": (f"{LEAST}drain: !{KEY} x\n", "5:8: drain: a tag (!) has no meaning here; put text that begins with ! in quotes"),
    "a variable in brackets": (f"{LEAST}catalogue: [${{X}}]\n", "5:14: this is no YAML: put ${…} in quotes here"),
    "a control character": ("a: \x07\n", "1:4: the character U+0007 is not allowed"),
    "a wrong variable": (f"{LEAST}logging: {{level: '${{1}}'}}\n", "5:18: logging.level: write ${NAME} or ${NAME:default} for a variable, $${ for the characters ${"),
    "part of itself": (f"{LEAST}catalogue: &a [*a]\n", "5:12: catalogue[0]: an alias (*) for something that it is a part of"),
    "a key that is a list": (f"{LEAST}[a]: 1\n", "5:1: a key has to be text"),
    "the second of a name": (f"{LEAST}  - {{name: show, type: console}}\n", "5:12: processors[1].name: show is the name of an earlier processor; give it its own"),
    "out of bounds": (f"{LEAST}admin: {{port: 65536}}\n", "5:15: admin.port: should be at most 65535"),
    "not a number": (f"{LEAST}drain: {{timeout_s: .nan}}\n", "5:20: drain.timeout_s: should be a finite number"),
    "no list": (f"{LEAST}catalogue: 5\n", "5:12: catalogue: should be a list"),
    "no mapping": (f"{LEAST}admin: 5\n", "5:8: admin: should be a mapping (key: value)"),
    "a wait longer than the longest": (f"{LEAST}    # \n".replace("console}", "console, retry: {backoff_s: 60}}"), "4:52: processors[0].retry.backoff_s: backoff_max_s (30) is less than backoff_s (60)"),
    "no type": (LEAST.replace("type: file, ", ""), "1:1: source.type: is missing"),
    "a missing section": (LEAST.replace("admission: {topics: any}\n", ""), "1:1: admission: is missing"),
    "an empty list": (LEAST.replace("[events.jsonl]", "[]"), "1:29: source.paths: should not be empty"),
    "settings for one that takes none": (LEAST.replace("type: console", "type: 'own_processors:plain', with: {a: 1}"), "4:54: processors[0].with: own_processors:plain takes no settings"),
    "a function that is not async": (LEAST.replace("type: console", "type: 'own_processors:blocking'"), "4:24: processors[0].type: own_processors:blocking is neither a class nor an async function"),
    "a class that handles nothing": (LEAST.replace("type: console", "type: 'own_processors:Idle'"), "4:24: processors[0].type: own_processors:Idle has neither `async def __call__` nor `async def process_batch`"),
    "a module that is not there": (LEAST.replace("type: console", "type: 'nowhere_at_all:x'"), "4:24: processors[0].type: nowhere_at_all:x cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "an attribute that is not there": (LEAST.replace("type: console", "type: 'own_processors:x'"), "4:24: processors[0].type: own_processors:x cannot be imported: AttributeError: module 'own_processors' has no attribute 'x'"),
    "a secret file that is not there": (f"{LEAST}state: {{type: blob, container: abc, connection_string_file: gone}}\n", "5:61: state.connection_string_file: FOLDER/gone: cannot be read (No such file or directory)"),
}  # fmt: skip

OWN = """\
from pydantic import BaseModel, SecretStr
async def plain(event, context): ...
def blocking(event, context): ...
class Idle: ...
class Bare:
    async def __call__(self, event, context): ...
class Sending:
    class Settings(BaseModel):
        password: SecretStr
        retries: int = 3
    def __init__(self, settings):
        self.settings = settings
    async def process_batch(self, events, context): ...
"""


@pytest.fixture(autouse=True)
def own_processors(tmp_path, monkeypatch):
    """Processors of one's own lie beside the configuration file."""
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_processors", raising=False)
    (tmp_path / "own_processors.py").write_text(OWN)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_with_the_place_and_the_reason(name, findings, tmp_path):
    text, expected = WRONG[name]
    found = findings(text)
    assert found == [expected.replace("FOLDER", str(tmp_path))]
    assert KEY not in "".join(found)


def test_a_file_that_is_not_utf8_is_refused_where_it_begins_to_be_something_else(findings):
    assert findings(b"a: 1\nb: \xff\n") == ["2:4: this is not UTF-8"]


def test_a_byte_order_mark_is_no_harm(load):
    assert load(b"\xef\xbb\xbf" + LEAST.encode()).admin.port == 8080


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: there is no such file; `inturn config init`"):
        load_settings(tmp_path / "gone.yaml", {})
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {})


def test_a_file_without_end_is_not_read_to_the_end(load):
    with pytest.raises(ConfigurationError, match=f"larger than {FILE_MAX_BYTES} bytes"):
        load("#" * (FILE_MAX_BYTES + 1))


def test_aliases_that_multiply_are_stopped(load):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigurationError, match="more than 20000 values"):
        load("\n".join(lines))
    merges = ["m0: &m0 {x: 1}"]
    merges += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    with pytest.raises(ConfigurationError, match="more than 20000 values"):
        load("\n".join(merges))


def test_deep_nesting_is_refused(load):
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        load("[" * 5_000)


def test_variables_fill_text_numbers_and_booleans(load):
    text = f"{LEAST}admin: {{host: '${{HOST}}', port: '${{PORT:8080}}', enabled: '${{ON:true}}'}}\n"
    admin = load(text, HOST="0.0.0.0", ON="false").admin
    assert (admin.host, admin.port, admin.enabled) == ("0.0.0.0", 8080, False)


def test_a_dollar_alone_is_a_dollar_and_two_before_a_brace_are_one(load):
    text = "  - {name: b, type: 'own_processors:Sending', with: {password: '$Default $${X} $$ $5'}}\n"
    password = load(LEAST + text).processors[1].options["password"]
    assert password.get_secret_value() == "$Default ${X} $$ $5"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_variable_brings_no_structure_with_it(tmp_path, value):
    file = tmp_path / "inturn.yaml"
    file.write_text(LEAST + "  - {name: b, type: 'own_processors:Sending', with: {password: '${X}'}}\n")
    loaded = load_settings(file, {"X": value})
    assert loaded.processors[1].options["password"].get_secret_value() == value


def test_an_empty_section_is_its_defaults(load):
    assert load(f"{LEAST}admin:\nlogging:\nsequence: {{window_s: }}\n") == load(LEAST)


@pytest.mark.parametrize("word", ["on", "yes", "no", "off", "y", "12:30", "010", "2026-11-21"])
def test_words_that_older_yaml_takes_for_something_else_are_text(load, word):
    text = f"{LEAST}logging: {{level: info}}\nadmin: {{host: {word}}}\n"
    assert load(text).admin.host == word


def test_a_boolean_may_be_written_as_yes_and_no(load):
    assert load(f"{LEAST}admin: {{enabled: no}}\n").admin.enabled is False


def test_a_merge_key_shares_settings_and_what_is_written_beside_it_wins(load):
    text = """\
    source: {type: file, paths: [events.jsonl]}
    admission: {topics: any}
    processors:
      - &usual {name: one, type: console, concurrency: 2}
      - {<<: *usual, name: two}
    """
    assert [(p.name, p.concurrency) for p in load(text).processors] == [("one", 2), ("two", 2)]


def test_paths_are_taken_from_the_folder_of_the_file(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    text = """\
    source: {type: file, paths: ["in/*.jsonl", /abs.jsonl, ~/mine.jsonl]}
    admission: {topics: any}
    processors:
      - {name: keep, type: archive, with: {path: ./archive}}
      - {name: hook, type: webhook, with: {url_file: url, header_files: {Authorization: token}}}
    """
    loaded = load(text)
    assert loaded.source.paths == (
        tmp_path / "in/*.jsonl",
        Path("/abs.jsonl"),
        Path("/home/someone/mine.jsonl"),
    )
    assert loaded.state.path == tmp_path / "inturn-state/state.sqlite"
    assert loaded.dead_letters.path == loaded.state.path
    assert loaded.processors[0].options == {"path": tmp_path / "archive"}
    headers = {"Authorization": tmp_path / "token"}
    assert loaded.processors[1].options == {"url_file": tmp_path / "url", "header_files": headers}


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from([*"{}[]:-\n &*!|>'\"#%@`,?", "<<", "a", "${A}", "&x", "*x", LEAST]), max_size=40
    ).map("".join)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_has_findings_with_a_place(tmp_path, text):
    file = tmp_path / "inturn.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_settings(file, {"A": "x"})
    except ConfigurationError as error:
        findings = error.findings
    else:
        return
    assert findings
    for finding in findings:
        assert re.match(rf"{re.escape(str(file))}:\d+:\d+: \S", finding)


SECRETS = """\
source: {type: eventhub, hub: events, connection_string: "${HUB}"}
state: {type: blob, container: inturn, connection_string: "${BLOB}"}
admission: {topics: any}
processors:
  - {name: send, type: "own_processors:Sending", with: {password: "${WORD}", retries: %s}}
%s
"""


@given(
    st.text("abcdefghijklmnop0123456789+/=", min_size=12, max_size=40),
    st.sampled_from([("3", ""), ("x", ""), ("3", "admin: {port: '${WORD}', enabled: '${HUB}', host: [1]}"),
                     ("3", "drain: ${WORD}"), ("3", "logging: {level: '${WORD}'}"), ("3", "sequence: {window_s: '${WORD}'}")]),
    st.booleans(),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_secret_is_in_no_repr_no_output_and_no_finding(tmp_path, secret, rest, is_well_formed):
    file = tmp_path / "inturn.yaml"
    file.write_text(SECRETS % rest)
    env = {
        "HUB": f"Endpoint=sb://c/;SharedAccessKey={secret}" if is_well_formed else secret,
        "BLOB": f"AccountName=c;AccountKey={secret}",
        "WORD": secret,
    }
    try:
        loaded, document = read_configuration(file, env)
    except ConfigurationError as error:
        assert rest != ("3", "") or not is_well_formed
        said = str(error) + repr(error)
    else:
        said = repr(loaded) + str(loaded) + render(loaded, document) + loaded.model_dump_json()
        assert "***" in said
    assert secret not in said


def test_what_is_shown_reads_back_as_the_same_settings(tmp_path):
    file = tmp_path / "inturn.yaml"
    file.write_text(
        LEAST + 'catalogue: [{types: ["A.*"], object: data.x, order: [{by: version, path: data.v}]}]\n'
        'admin: {host: "a${B:$${}: #b"}\n'
    )
    loaded, document = read_configuration(file, {})
    again = tmp_path / "again.yaml"
    again.write_text(render(loaded, document))
    assert load_settings(again, {}) == loaded


def test_what_is_shown_says_where_each_value_comes_from(tmp_path):
    file = tmp_path / "inturn.yaml"
    file.write_text(LEAST + "admin:\n  port: ${PORT}\n")
    shown = render(*read_configuration(file, {"PORT": "1"})).splitlines()
    assert "  port: 1  # ${PORT}" in shown
    assert "  topics: any  # line 2" in shown
    assert "  host: 127.0.0.1  # default" in shown
