"""What inturn says of itself while it runs.

* `metrics` turns an `EngineStatus` into Prometheus numbers, at scrape time; `durations` keeps the one
  histogram, `totals` keeps counters from going backwards when a partition leaves and comes back.
* `health` decides from the same status whether the process is alive and ready, and says why not.
* `admin` serves both over HTTP, with the status page in ``page/``.
* `workers_book` adds up what several workers report, for all of the above; `line_merger` brings their output
  together, line by whole line.
* `logs` sets up logging; `redaction` keeps secrets and bodies out of it; `line_writer` keeps a stuck
  terminal from stopping the event loop.

Nothing here is called once per event: the hot path counts in plain integers and knows nothing of it.
"""
