"""Hostile events: whatever they say stays text, in its place, or is refused."""

from __future__ import annotations

from harness.endpoints import Endpoint
from harness.injection_table import CASES
from harness.injections import open_places, outcome_of
from harness.resource_manager import SECRET_HEADER, ResourceManagerServer


async def test_no_event_gets_more_than_its_own_words_into_any_place(tmp_path, monkeypatch, figure):
    endpoint = Endpoint()
    async with endpoint.listening(), ResourceManagerServer() as azure:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/identity/token")
        monkeypatch.setenv("IDENTITY_HEADER", SECRET_HEADER)
        async with open_places(endpoint, azure, tmp_path) as places:
            outcomes = [(case, await outcome_of(case, places)) for case in CASES]

    wrong = [
        f"{case.place}: {case.hostile[:80]!a} became {outcome[:200]!a}, and not {case.outcome[:200]!a}"
        for case, outcome in outcomes
        if outcome != case.outcome
    ]
    figure("injection-cases-refused", len(CASES) - len(wrong), "cases", "==", len(CASES))
    assert not wrong, "\n".join(wrong)


def test_every_place_is_attacked_in_several_ways():
    attacks = {place: sum(case.place == place for case in CASES) for place in {case.place for case in CASES}}
    assert min(attacks.values()) >= 3
    assert len(set(CASES)) == len(CASES)
