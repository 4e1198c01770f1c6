"""Redaction: no secret, no body and no terminal escape reaches a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.telemetry.redaction import HIDDEN, redact, redact_item, redact_value

SECRET = "aB3+/dE6f9hI0jK=="


@pytest.mark.parametrize(
    "text",
    [
        f"Endpoint=sb://h/;SharedAccessKeyName=Root;SharedAccessKey={SECRET}",
        f"Endpoint=sb://h/;SharedAccessKeyName=Root;SharedAccessKey={SECRET};EntityPath=events",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=core",
        f"https://a.blob.core.windows.net/c?sv=2024&sig={SECRET}&se=2026",
        f"SharedAccessSignature sr=sb%3a%2f%2fh&sig={SECRET}&skn=Root",
        f"Authorization: Bearer {SECRET}",
        f"'authorization': 'Bearer {SECRET}'",
        f'{{"password": "{SECRET}"}}',
        f"password={SECRET}",
        f"PASSWORD = '{SECRET}'",
        f"smtp://mailer:{SECRET.replace('/', '_')}@mail.example",
        f"signed with whsec_{SECRET}",
        f"client_secret={SECRET}&grant_type=x",
        f"https://f.azurewebsites.net/api/hook?code={SECRET}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_secrets_are_hidden_and_what_surrounds_them_stays(text):
    hidden = redact(text)
    assert HIDDEN in hidden
    for part in (SECRET, SECRET.replace("/", "_"), "c2lnbmF0dXJl", "eyJhbGci"):
        assert part not in hidden


def test_names_that_only_look_like_secrets_stay():
    text = "SharedAccessKeyName=Root; the order token 7 of models/fraud:3 by=sequencer code path"
    assert redact(text) == text


def test_a_value_is_hidden_for_its_name_alone():
    assert redact_item("smtp_password", "x") == HIDDEN
    assert redact_item("connection_string", {"a": 1}) == HIDDEN
    assert redact_item("attempts", 3) == 3
    assert redact_value({"outer": {"account_key": "x", "seen": [f"sig={SECRET}"]}}) == {
        "outer": {"account_key": HIDDEN, "seen": [f"sig={HIDDEN}"]}
    }


def test_bodies_are_named_and_never_shown(event):
    made = event(original=b'{"private":"body"}', data={"private": "body"})
    assert redact_value(b"private body") == "<12 bytes>"
    assert "private" not in str(redact_value([made]))
    assert "Event" in redact_value(made)
    assert "sequence_number=7" in redact_value(made)


def test_a_text_cannot_move_the_cursor_or_forge_a_line():
    assert redact("a\x1b[2Jb\nERROR forged\x9b") == "a\\x1b[2Jb\\x0aERROR forged\\x9b"
    assert redact("one\n\ttwo\x1b", lines=True) == "one\n\ttwo\\x1b"


def test_a_long_text_keeps_both_ends_and_no_secret_at_the_cut():
    padding = "x" * 7_990
    hidden = redact(f"{padding} AccountKey={SECRET} {'y' * 20_000}end")
    assert len(hidden) < 17_000
    assert hidden.endswith("end")
    assert SECRET[:4] not in hidden


@given(
    st.recursive(
        st.text() | st.binary() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_can_be_redacted(value):
    redact_value(value)


@given(st.text())
def test_redaction_leaves_valid_unicode(text):
    redact(text + "\ud800").encode()
