"""The rules, and nothing that can wait: no event loop, no clock, no log, no SDK, no randomness.

`pipeline` is the state machine of one partition: stimuli in, effects out, in batches. It is put together from

* `decode` (with `strict_json` and `times`): bytes to events, or the reason why not
* `catalogue`, `order`: what an event's object, order token and identity are, and how tokens compare
* `admission`: which events are ours
* `deduplicator`: which were seen before
* `watermark`, `sequencer`: when an event may go on, and after which
* `flights`, `release_order`, `outbox`: who still has to be done with which event
* `checkpoint`: how far everything is done; `barrier`: what waits until that is stored
* `snapshot` (with `state`): what has to be remembered with the checkpoint

`retry` and `idempotency` are rules that the runtime applies to single attempts.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


def form() -> str:
    """How the rules run: ``compiled`` (C extensions that mypyc made of these files) or ``interpreted``."""
    spec = find_spec("consumer.core.pipeline")
    is_compiled = spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if is_compiled else "interpreted"
