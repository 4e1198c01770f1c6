// A second, independent client: Azure's own for JavaScript. Does one of everything and prints what it
// saw as JSON. Arguments: the connection string, and the folder of the node modules.
import { createRequire } from "node:module";
import { join } from "node:path";

const [connection, modules] = process.argv.slice(2);
const { EventHubProducerClient, EventHubConsumerClient, earliestEventPosition } = createRequire(
  join(modules, "package.json"),
)("@azure/event-hubs");

const seen = {};
const producer = new EventHubProducerClient(connection);
const consumer = new EventHubConsumerClient("second", connection);

try {
  const hub = await producer.getEventHubProperties();
  seen.hub = { name: hub.name, partitionIds: hub.partitionIds };

  const batch = await producer.createBatch({ partitionId: "1" });
  for (let index = 0; index < 50; index += 1) {
    batch.tryAdd({ body: { index }, properties: { index } });
  }
  await producer.sendBatch(batch);
  await producer.sendBatch([{ body: "keyed" }], { partitionKey: "run/17" });
  await producer.sendBatch([{ body: "x".repeat(900_000) }], { partitionId: "2" });

  const partition = await producer.getPartitionProperties("1");
  seen.partition = {
    isEmpty: partition.isEmpty,
    beginning: partition.beginningSequenceNumber,
    last: partition.lastEnqueuedSequenceNumber,
    offset: partition.lastEnqueuedOffset,
  };

  seen.events = await receive(52, earliestEventPosition);
  seen.later = await receive(5, { sequenceNumber: 44 }, "1");
  seen.refused = await refusal();
} finally {
  await producer.close();
  await consumer.close();
}
console.log(JSON.stringify(seen));

/** Receives until there are `count` events; of one partition, or of all. */
function receive(count, startPosition, partitionId) {
  const events = [];
  return new Promise((resolve, reject) => {
    const handlers = {
      async processEvents(received, context) {
        for (const event of received) {
          events.push({
            partition: context.partitionId,
            body: typeof event.body === "string" && event.body.length > 100 ? event.body.length : event.body,
            properties: event.properties ?? null,
            key: event.partitionKey ?? null,
            sequenceNumber: event.sequenceNumber,
            offset: event.offset,
            enqueuedTimeMs: event.enqueuedTimeUtc.getTime(),
            last: context.lastEnqueuedEventProperties?.sequenceNumber ?? null,
          });
        }
        if (events.length >= count) {
          await subscription.close();
          resolve(events);
        }
      },
      async processError(error) {
        await subscription.close();
        reject(error);
      },
    };
    const options = { startPosition, maxWaitTimeInSeconds: 1, trackLastEnqueuedEventProperties: true };
    const subscription = partitionId
      ? consumer.subscribe(partitionId, handlers, options)
      : consumer.subscribe(handlers, options);
  });
}

/** What a client of a consumer group that does not exist is told. */
async function refusal() {
  const stranger = new EventHubConsumerClient("nobody", connection, { retryOptions: { maxRetries: 0 } });
  try {
    return await new Promise((resolve) => {
      const subscription = stranger.subscribe(
        "0",
        {
          async processEvents() {},
          async processError(error) {
            resolve({ code: error.code, message: error.message });
            await subscription.close();
          },
        },
        { startPosition: earliestEventPosition },
      );
    });
  } finally {
    await stranger.close();
  }
}
