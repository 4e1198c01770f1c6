"""The asyncio shell around the core: thin, and without rules of its own.

* `engine`: the intake that a source talks to; assigns, fences, drains and revokes partitions
* `partition`: one partition; feeds its pipeline, carries out what it wants
* `lanes`: gives events to one processor, one at a time for each object
* `attempts`: one event (or chunk) and one processor until there is a verdict: deadline, retry, dead letter
* `writers`: the tasks that store checkpoints and dead letters
* `lifecycle`: the order of starting and stopping, and signals
* `clock`: the only place that looks at the time
"""
