"""For authors of processors: events to test with, and a run in which everything goes wrong.

    from consumer.testing import make_context, make_event, run_under_faults

    async def test_a_model_is_announced_once_whatever_happens():
        announced = {}

        class Announce:
            async def __call__(self, event, context):
                announced.setdefault(context.idempotency_key, event.field("modelName"))

        events = [make_event("Microsoft.MachineLearningServices.ModelRegistered", f"models/churn:{n}",
                             {"modelName": "churn", "modelVersion": n}) for n in range(50)]
        report = await run_under_faults(Announce, events, seed=7)
        assert len(announced) == 50
        assert not report.dead_letters

`make_event` goes through the decoder that reads a hub, so an event in a test is what it would be in
production; `run_under_faults` drives the engine that does.
"""

from consumer.testing.events import make_context, make_event, make_message
from consumer.testing.faults import Faults, Report, run_under_faults

__all__ = ["Faults", "Report", "make_context", "make_event", "make_message", "run_under_faults"]
