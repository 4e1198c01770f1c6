"""Functions and Logic Apps: a webhook with their keys."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.processor import Context
from processors.function import Function


async def post(event, **settings) -> None:
    function = Function(Function.Settings(**settings))
    await function.open()
    try:
        await function(event, Context("fn", 1, [event], lambda event: event.id))
    finally:
        await function.close()


async def test_a_function_gets_its_key_as_a_header_from_a_file(endpoint, chosen, event, tmp_path):
    (tmp_path / "key").write_text("the-key==\n")
    await post(event(), url=f"{endpoint.url}api/name", key_file=tmp_path / "key", **chosen)
    request = endpoint.requests[0]
    assert (request.path, request.headers["x-functions-key"]) == ("/api/name", "the-key==")


async def test_a_logic_app_is_called_at_the_signed_url_of_its_file(endpoint, chosen, event, tmp_path):
    path = "workflows/1/triggers/manual/paths/invoke?api-version=2016-10-01&sp=%2Ftriggers%2Frun&sig=a-b_c"
    (tmp_path / "url").write_text(endpoint.url + path)
    endpoint.answers(202)
    await post(event(), url_file=tmp_path / "url", body="original", **chosen)
    assert endpoint.requests[0].path == f"/{path}"


def test_a_preview_keeps_key_and_signature_to_itself(event, tmp_path):
    (tmp_path / "url").write_text("https://logic.example/?sig=hunter2")
    made = event()
    context = Context("fn", 1, [made], lambda event: event.id)
    for given in ({"url_file": tmp_path / "url"}, {"url": "https://app.example/api/x", "key": "hunter2"}):
        assert "hunter2" not in str(Function(Function.Settings(**given)).preview(made, context))


@pytest.mark.parametrize(
    ("given", "flaw"),
    [
        ({}, "give `url` or `url_file`"),
        ({"url": "https://app.example/api/x?code=hunter2"}, "url: holds a key"),
        ({"url": "https://app.example/?a=1&sig=hunter2"}, "url: holds a key"),
        ({"url": "https://app.example/", "key": "a", "key_file": "b"}, "`key` or `key_file`, not both"),
        ({"url": "https://app.example/", "key": "hunter2\r\nX: 1"}, "x-functions-key has a character"),
        ({"url": "http://app.example/"}, "url: has to begin with https://"),
        ({"url": "https://app.example/", "signing_secret": "x"}, "signing_secret"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given, flaw):
    with pytest.raises(ValidationError) as refusal:
        Function.Settings(**given)
    assert flaw in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
