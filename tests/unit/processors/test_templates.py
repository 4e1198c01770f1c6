"""Templates: slots of a closed list, and values that stay in their place whatever they say."""

from __future__ import annotations

import html
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from processors.event_slots import SLOTS, slots_of
from processors.templates import (
    HEADER_MAX,
    VALUE_MAX,
    Escape,
    Template,
    TemplateError,
    UnfitValue,
    header_text,
    one_line,
    url_part,
)

# The fixture `event` only makes values: every example may use the same one.
STATELESS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = {"subject", "title", "lines"}


def rendered(event, text, escape=Escape.TEXT, **slots):
    return Template(text, NAMES).render(event(**slots.pop("of", {})), lambda name: slots[name], escape)


def test_slots_and_paths_are_filled_and_everything_else_stays(event):
    text = "{{{title}}} of {data.ModelName}:{data.modelversion} {{}} {data.no.such|nothing}"
    assert rendered(event, text, title="A") == "{A} of fraud:3 {} nothing"


def test_what_is_no_text_is_written_as_json(event):
    data = {"list": [1, "ü"], "yes": True, "none": None, "deep": {"a": 1.5}}
    text = "{data.list} {data.yes} [{data.none}] {data.deep}"
    assert rendered(event, text, of={"data": data}) == '[1,"ü"] true [] {"a":1.5}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{subjekt}", r"is none; did you mean \{subject\}"),
        ("{title.__class__}", "is none"),
        ("{title!r}", "is none"),
        ("{title:>99999999}", "is none"),
        ("{data}", "is none"),
        ("{data.}", "is none"),
        ("{data.a b}", "is none"),
        ("{0}", "is none"),
        ("{}", "is none"),
        ("a } b", "without its other half; write }} for one"),
        ("a { b", "without its other half; write {{ for one"),
        ("{a{b}}", "without its other half"),
    ],
)
def test_there_is_nothing_but_slots(text, message):
    with pytest.raises(TemplateError, match=message):
        Template(text, NAMES)


def test_a_value_that_looks_like_a_slot_is_not_filled_again(event):
    assert rendered(event, "{title}", title="{subject} {data.modelName}") == "{subject} {data.modelName}"


def test_a_slot_of_several_lines_keeps_them_and_a_value_brings_none_of_its_own(event):
    lines = ("one\r\ntwo", "<b>")
    assert rendered(event, "{lines}", lines=lines) == "one two\n<b>"
    assert rendered(event, "{lines}", Escape.HTML, lines=lines) == "one two<br>\n&lt;b&gt;"
    assert rendered(event, "{lines}", Escape.HEADER, lines=lines) == "one two, <b>"


@pytest.mark.parametrize(
    ("attack", "harmless"),
    [
        ("a\r\nBcc: eve@evil.example", "a Bcc: eve@evil.example"),
        ("a\nX: 1", "a X: 1"),
        ("=?utf-8?q?a=0d=0aBcc=3a_eve=40evil=2eexample?=", "a Bcc: eve@evil.example"),
        ("=?utf-8?b?YQ0KQmNjOiBldmU=?=", "a Bcc: eve"),
        ("=?utf-8?q?=3d=3futf-8=3fq=3fBcc=3f=3d?=", "= ?utf-8?q?Bcc?="),
        ("=?no-such-charset?q?a?=", "= ?no-such-charset?q?a?="),
        ("=?utf-8?b?AAAAA?=x", "= ?utf-8?b?AAAAA?=x"),
        ("a\u2028Bcc: b\x00\x1b[31m", "a Bcc: b[31m"),
        ("safe\u202egpj.exe", "safegpj.exe"),
    ],
)
def test_a_header_cannot_be_broken_out_of(attack, harmless):
    assert header_text(attack) == harmless


@given(st.text() | st.text(alphabet="=?utf-8qb\r\n:_ 0daA"))
@example("=\n?a")
def test_whatever_becomes_a_header_is_one_line_that_reads_back_the_same(value):
    header = header_text(value)
    assert len(header) <= HEADER_MAX
    assert header == "" or header.isprintable()
    message = EmailMessage(policy=SMTP)
    message["Subject"] = header
    message.set_content("")
    assert [name for name in message if name == "Subject"] == ["Subject"]
    assert message.as_bytes().count(b"\r\nBcc") == 0
    assert header_text(header) == header


@given(left=st.text(max_size=5), right=st.text(max_size=5))
@example("=", "?utf-8?q?=0d=0a?=")
@STATELESS
def test_two_harmless_values_side_by_side_are_harmless(event, left, right):
    text = rendered(event, "{title}{subject}", Escape.HEADER, title=left, subject=right)
    assert "=?" not in text


@given(value=st.text())
@STATELESS
def test_html_shows_a_value_and_never_means_it(event, value):
    text = rendered(event, '<a title="{title}">', Escape.HTML, title=value)
    inner = text.removeprefix('<a title="').removesuffix('">')
    assert not set(inner) & set("<>\"'")
    assert html.unescape(inner) == one_line(value)


@given(value=st.text())
@STATELESS
def test_a_url_keeps_its_parts_whatever_the_value(event, value):
    try:
        url = rendered(event, "https://h/a/{title}/b?q={title}", Escape.URL, title=value)
    except UnfitValue:
        assert value in {"", ".", ".."} or not value.isprintable() or len(value) > VALUE_MAX
        return
    parts = urlsplit(url)
    assert parts.netloc == "h"
    assert parts.path.split("/")[1:] == ["a", parts.path.split("/")[2], "b"]
    assert unquote(parts.path.split("/")[2]) == value
    assert (parts.query.count("&"), parts.query.count("="), parts.fragment) == (0, 1, "")


@pytest.mark.parametrize("value", ["", ".", "..", "a\nb", "\ud800", "x" * (VALUE_MAX + 1)])
def test_what_would_not_stay_a_part_of_a_url_is_refused(value):
    with pytest.raises(UnfitValue):
        url_part(value)


def test_a_long_value_is_cut_off_and_shows_it(event):
    text = rendered(event, "{title}", title="x" * 5_000)
    assert len(text) == VALUE_MAX
    assert text.endswith("x…")


def test_every_slot_that_is_promised_can_be_filled(event):
    made = event()
    slots = slots_of(made, key="k", processor="p")
    for name in SLOTS:
        assert slots(name) is not None
    shown = Template("{processor} {key} {model}:{model_version} {workspace} {time}", SLOTS)
    assert shown.render(made, slots, Escape.TEXT) == "p k fraud:3 w 2026-11-21T06:00:00.000Z"
