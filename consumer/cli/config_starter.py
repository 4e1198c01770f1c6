"""What ``inturn config init`` prints: a configuration that works, and says what else there is."""

STARTER = """\
# inturn: the configuration. Every setting that is not here has a default: `inturn config schema` says which.
# ${NAME} is an environment variable, ${NAME:default} has a default, $${ is the characters themselves.
# Paths are relative to this file's folder. Look at what it comes to: `inturn config show`.

source:
  type: eventhub
  hub: ${EVENTHUB_NAME:events}
  consumer_group: $Default          # better: a group of inturn's own
  # An identity, which keeps no secret anywhere:
  namespace: ${EVENTHUB_NAMESPACE:contoso.servicebus.windows.net}
  credential: default               # or managed_identity, workload_identity
  # Or, instead of namespace and credential, one of these:
  # connection_string: ${EVENTHUB_CONNECTION_STRING}
  # connection_string_file: /run/secrets/eventhub

# Checkpoints and dead letters. sqlite is for one machine; with more than one replica use a container:
state:
  type: sqlite
  path: inturn-state/state.sqlite
  # type: blob
  # container: inturn
  # account_url: https://contoso.blob.core.windows.net

# Which events are ours. A list of resource ids is safer than `any`:
#   - /subscriptions/…/providers/Microsoft.MachineLearningServices/workspaces/ml
admission:
  topics: any

# How long an event waits for earlier ones of the same object.
sequence:
  window_s: 5

processors:
  - name: show
    type: console

  - name: keep
    type: archive
    types: [Microsoft.MachineLearningServices.*]
    # Only some of them, as Event Grid would filter. Also as az's arguments (`az: ["data.x StringIn a b"]`)
    # or as a subscription that was exported (`arm_file: subscription.json`).
    # filter:
    #   subject_begins_with: models/
    #   advanced_filters:
    #     - {key: data.modelTags.stage, string_in: [production]}
    # No more than so many events in so many seconds; what is beyond that waits.
    # rate: {events: 50, per_s: 1}
    # A consumer group of its own: it may hang and hold up nobody, and begin elsewhere than the others.
    # consumer_group: inturn-archive
    # from: earliest
    with:
      path: ./archive

# Health, metrics and the status page, on this machine only.
admin:
  host: 127.0.0.1
  port: 8080
"""
