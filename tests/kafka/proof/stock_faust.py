"""What a Faust tutorial makes of the task: `group_by` the object, and a table that remembers where each is.

Run by `test_cost` as a process of its own: ``python stock_faust.py BOOTSTRAP TOPIC EVENTS``. When every event
has reached the table it prints the seconds of CPU since the first one, and ends.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile

_BOOTSTRAP, _TOPIC, _EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.argv = sys.argv[:1]

import faust  # noqa: E402 - it would read the arguments
import orjson  # noqa: E402
import uvloop  # noqa: E402

app = faust.App(
    f"stock-{_TOPIC}",
    broker=f"kafka://{_BOOTSTRAP}",
    value_serializer="raw",
    topic_partitions=4,
    topic_replication_factor=1,
    store="memory://",
    web_enabled=False,
    datadir=tempfile.mkdtemp(),
)
source = app.topic(_TOPIC, value_serializer="raw", key_serializer="raw")
last_seen = app.Table("last-seen", default=str, partitions=4)


def cpu_s() -> float:
    """Of the whole process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def subject_of(body: bytes) -> str:
    """The object of an event."""
    return str(orjson.loads(body)[0]["subject"])


began_s: list[float] = []
count = 0


@app.agent(source, name="count")
async def remember(stream: faust.Stream) -> None:
    """Re-key, and keep the last of every object."""
    global count  # noqa: PLW0603 - a script
    async for body in stream.group_by(subject_of, name="by-object", partitions=4):
        if not began_s:
            began_s.append(cpu_s())
        event = orjson.loads(body)[0]
        last_seen[event["subject"]] = event["data"]["sequencer"]
        count += 1
        if count == _EVENTS:
            done.set()


done = asyncio.Event()


async def main() -> None:
    """Run until all is seen."""
    await app.start()
    await done.wait()
    print(f"cpu_s {cpu_s() - began_s[0]:.3f}", flush=True)  # noqa: T201 - what it is for
    await app.stop()


uvloop.run(main())  # as our worker does: the loop is not what is compared
