"""inturn: of every object in turn, once, and none lost.

The way of an event, in the order to read the files:

    sources/     a batch of messages of one partition comes in as columns (`RawBatch`)
    runtime/     one `PartitionRunner` for each partition feeds its pipeline and carries out what it wants
    core/        the rules, which cannot wait: `pipeline` puts together
                 decode → admission → deduplicator → sequencer → dispatch … → checkpoint
    runtime/     `lanes` give the events to the processors, one at a time for each object
    processors/  (a package beside this one) act on them
    core/        `checkpoint` rises past what is resolved; `snapshot` is the state that belongs to it
    stores/      both are stored in one conditional write; what nobody could handle is a dead letter

Around it: `settings` and `config_file` read the configuration, `composition` builds the running thing,
`cli/` are the commands, `telemetry/` says what is going on, `hub/` is a local Event Hubs for
laptops and tests, `samples/` makes realistic events.
"""

from consumer.events import Event, ObjectId, OrderedBy, OrderToken, Position
from consumer.processor import BatchProcessor, Context, Processor, Reject, Retry

__version__ = "0.1.0"

__all__ = [
    "BatchProcessor",
    "Context",
    "Event",
    "ObjectId",
    "OrderToken",
    "OrderedBy",
    "Position",
    "Processor",
    "Reject",
    "Retry",
]
