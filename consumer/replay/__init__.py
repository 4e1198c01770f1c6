"""Replay: a stretch of a log once more through the same pipeline, with state and keys of its own.

`places` says what a person may mean by "from" and "to"; `planning` makes stretches of them, one for each
partition; `ledger` remembers every replay and how far it has come; `running` reads the stretches.

What a replay is not told it does not know. It begins with an empty sequencer and no identities: an event
whose later sibling came before the stretch is not stale in it, and one that came before the stretch for the
first time is no duplicate. At the end of the stretch nothing can come before what is held, so it is released.
Between the two, what is released in which order depends on the log alone, as in a live run.
"""
