"""The asyncio shell around the core: thin, and without rules of its own.

* `engine`: the intake that a source talks to; assigns, fences, drains and revokes partitions
* `halts`, `spread`: partitions that wait for an operator, objects that come on several partitions
* `partition`: one partition; feeds its pipeline, carries out what it wants
* `inbox`, `settlements`: what a partition waits for: the next batch, and failures to be stored
* `lease`: how long an owner trusts itself without having asked the store
* `lanes`: gives events to one processor, one at a time for each object
* `strays`: attempts that go on although they were cut off
* `attempts`: one event (or chunk) and one processor until there is a verdict: deadline, retry, dead letter
* `assignment`, `writers`: take a partition over; the tasks that store checkpoints and dead letters
* `lifecycle`: the order of starting and stopping; `signals` ask for it
* `supervisor`: several workers in processes of their own; `restarts`: when one that died is started again
* `worker_process`, `worker_channel`: one of them as the supervisor holds it, and what the two tell each other
* `clock`: the only place that looks at the time
"""
