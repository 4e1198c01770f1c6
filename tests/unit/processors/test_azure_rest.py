"""What Azure Resource Manager's answers are taken for, whatever is in them."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.processor import NotYet, Reject, Retry
from processors.azure_rest import (
    RETRY_AFTER_MAX_S,
    AccessRefused,
    Answer,
    _ending_of,
    _error_of,
    _retry_after_s,
    said,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["error", "code", "message", "status"]), inner)
    ),
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999", RETRY_AFTER_MAX_S),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("-3", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_the_seconds_to_wait_are_read_and_bounded(text, seconds):
    assert _retry_after_s({"retry-after": text}) == seconds


def test_a_date_to_wait_for_is_read_too():
    assert 50 < _retry_after_s({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert _retry_after_s({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0.0


@given(st.text())
def test_whatever_stands_there_is_no_error(text):
    seconds = _retry_after_s({"retry-after": text})
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S


@given(anything, st.sampled_from([300, 302, 400, 401, 403, 404, 408, 409, 412, 418, 429, 500, 502, 503, 599]))
def test_every_answer_that_is_no_success_is_one_of_four_errors(body, status):
    error = _error_of(Answer(status, {}, body))
    expected = {401: AccessRefused, 403: AccessRefused, 408: Retry, 412: Retry, 409: NotYet, 429: NotYet}
    assert isinstance(error, expected.get(status, Retry if status >= 500 else Reject | NotYet))


@given(anything)
def test_what_azure_says_is_one_line_and_bounded(body):
    for text in said(body):
        assert len(text) <= 500
        assert len(text.splitlines()) <= 1


@given(anything, st.booleans(), st.sampled_from([200, 202, 204]))
def test_only_a_plain_word_ends_an_operation_that_has_a_status(body, is_status, http_status):
    ending = _ending_of(Answer(http_status, {}, body), is_status=is_status)
    if ending is not None and is_status:
        assert body["status"].casefold() in {"succeeded", "failed", "canceled", "cancelled"}
