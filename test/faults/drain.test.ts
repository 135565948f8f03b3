import t from 'tap';
import {
  answer,
  chat,
  chunk,
  head,
  inChunks,
  json,
  jsonChat,
  lastChunk,
  sse,
  type Fault,
  type Scene,
} from './fault.ts';
import { places, setStage } from './stage.ts';

t.setTimeout(60_000);

const stage = await setStage(t, {
  onDisconnect: { type: 'drain', maxSeconds: 1, maxBytes: 64 * 1024 },
});
const { gateway } = stage;

/** Of the call with this model: how it ended, its usage, and how many bytes the client got. */
async function recordOf(model: string) {
  await gateway.shipped();
  return gateway.database.store.asSystem((tx) =>
    tx
      .selectFrom('usage_events')
      .select([
        'outcome',
        'end_reason',
        'usage_source',
        'output_tokens',
        'response_bytes',
        'attempt',
        'status',
      ])
      .where('model', '=', model)
      .execute(),
  );
}

/** Sends a first event, waits until the gateway knows that its client is gone, and goes on. */
function goOn(rest: (scene: Scene) => void): Pick<Fault, 'play' | 'leavesAfter' | 'sees' | 'ends'> {
  return {
    leavesAfter: chat.one.length,
    sees: null,
    ends: [],
    play: async (scene) => {
      scene.socket.write(Buffer.concat([Buffer.from(head(200, sse, inChunks)), chunk(chat.one)]));
      await scene.left;
      rest(scene);
    },
  };
}

t.test('a stream whose client has left is read to its end, for its exact usage', async (t) => {
  const { model } = await stage.play({
    name: 'drained',
    ...goOn(
      ({ socket }) =>
        void socket.write(Buffer.concat([chunk(chat.two + chat.finish + chat.done), Buffer.from(lastChunk)])),
    ),
  });
  const [row, ...more] = await recordOf(model);
  t.same(more, []);
  t.match(row, {
    outcome: 'CLIENT_CLOSED',
    end_reason: 'client_closed',
    usage_source: 'provider',
    output_tokens: 3n,
    status: 200,
  });
  t.equal(row?.response_bytes, BigInt(chat.one.length), 'the client’s part alone counts as relayed');
});

t.test('so is an answer whose client has left before it began', async (t) => {
  const { model } = await stage.play({
    name: 'drained early',
    isStream: false,
    leavesAfter: -1,
    sees: null,
    ends: [],
    play: async ({ socket, left }) => {
      await left;
      socket.write(answer(200, jsonChat, json));
    },
  });
  t.match(await recordOf(model), [
    {
      outcome: 'CLIENT_CLOSED',
      end_reason: 'client_closed',
      usage_source: 'provider',
      output_tokens: 3n,
      status: 499,
      response_bytes: 0n,
    },
  ]);
});

t.test('an error, a refused key or a break after the client has left is an end like any other', async (t) => {
  const endings: Record<string, (scene: Scene) => void> = {
    '503': ({ socket }) => void socket.end(answer(503, '{}', json, 'connection: close')),
    '401': ({ socket }) => void socket.end(answer(401, '{}', json, 'connection: close')),
    '500 that is long': ({ socket }) =>
      void socket.end(answer(500, Buffer.alloc(65_000), json, 'connection: close')),
    reset: ({ socket }) => socket.resetAndDestroy(),
    page: ({ socket }) =>
      void socket.end(answer(200, '<html>', 'content-type: text/html', 'connection: close')),
  };
  for (const [name, ending] of Object.entries(endings)) {
    const { model, requests } = await stage.play({
      name,
      leavesAfter: -1,
      sees: null,
      ends: [],
      play: async (scene) => {
        await scene.left;
        ending(scene);
      },
    });
    t.match(
      await recordOf(model),
      [{ end_reason: 'client_closed', usage_source: 'unknown', attempt: 1 }],
      name,
    );
    t.equal(requests, 1, 'nothing is tried again for nobody');
  }
});

t.test(
  'what is more than the bytes that the policy allows is not read, and its usage is estimated',
  async (t) => {
    let wasClosed = false;
    const { model } = await stage.play({
      name: 'long',
      ...goOn(({ socket, closed }) => {
        void closed.then(() => {
          wasClosed = true;
        });
        const more = (): void => {
          while (!socket.destroyed && socket.write(chunk(chat.two.repeat(100))));
        };
        socket.on('drain', more);
        more();
      }),
    });
    t.match(await recordOf(model), [{ outcome: 'CLIENT_CLOSED', usage_source: 'estimated' }]);
    t.ok(wasClosed);
  },
);

t.test('what takes longer than the policy allows is not read', async (t) => {
  const at = performance.now();
  const { model } = await stage.play({ name: 'slow', ...goOn(() => {}) });
  t.match(await recordOf(model), [{ outcome: 'CLIENT_CLOSED', usage_source: 'estimated' }]);
  t.ok(performance.now() - at < 5000);
});

t.test('a drain holds its place, and ends with the token', async (t) => {
  const scenes: Scene[] = [];
  const all = Array.from({ length: places }, () =>
    stage.play({ name: 'held', ...goOn((scene) => void scenes.push(scene)) }),
  );
  await Promise.all(all);
  const refused = await stage.play({ name: 'one more', play: () => {}, sees: null, ends: [] });
  t.match([refused.status, refused.header('x-sallyport-code')], [429, 'RATE_LIMITED']);
  const at = performance.now();
  await gateway.api('DELETE', `/tokens/${stage.tokenId}`);
  await Promise.all(scenes.map(({ closed }) => closed));
  t.ok(performance.now() - at < 1000, 'within a second');
  await gateway.shipped();
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
});
