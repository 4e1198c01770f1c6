"""What can be done with events: one processor a file, named for what it does.

* `console` prints a line per event: to see what comes.
* `archive` keeps events as JSON lines in files.
* `webhook` posts events to an HTTPS endpoint, signed; `function` to an Azure Function or a Logic App.
* `email` tells people.
* `deploy_model` deploys registered models to online endpoints of Azure ML.

A processor is made as ``Cls(settings)``, where ``Cls.Settings`` is a frozen pydantic model that refuses
unknown keys. It is an async callable or has `process_batch`, and may have `open` and `close`;
`consumer.processor` is the contract. Processors know `consumer.events`, `consumer.processor` and
`consumer.errors`, and nothing else of the consumer.
"""
