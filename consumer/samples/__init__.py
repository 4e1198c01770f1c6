"""Realistic events, a seeded trace of them, and what must come of it.

`events`, `ml_events`, `storage_events`   builders: one element of a body as Azure writes it
`poison`                                  what cannot be an event, one kind for each reason
`trace`                                   the plan: what to send, in which order, and what it is for
`truth`                                   an independent reckoning of what must become of a log
`sender`                                  sends messages with the real Event Hubs client
"""
