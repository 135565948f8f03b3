import { rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { errorTable, type ErrorCode } from '../../src/errors.ts';
import { as, scenesOf, type Scene } from './error-scenes.ts';
import { startErrorWorld } from './error-world.ts';
import { startFront, type Front } from './front.ts';
import type { Sdk } from './sdk.ts';
import { sdks } from './sdks.ts';

/**
 * Codes that no call of an SDK ends with: they belong to `/api` or the command line, to what is not offered yet, to the journal
 * alone, or to faults that a test of their own makes.
 */
const elsewhere: readonly ErrorCode[] = [
  ...(['VALUE_NEVER_RETURNED', 'TLS_REQUIRED', 'CONFLICT', 'PRECONDITION_FAILED'] as const),
  ...(['ALREADY_INITIALISED', 'GATEWAY_UNREACHABLE', 'CONFIG_INVALID', 'CHECKPOINT_PENDING'] as const),
  ...(['BUDGET_EXHAUSTED'] as const),
  ...(['CLIENT_CLOSED', 'CLIENT_TOO_SLOW', 'UPSTREAM_STREAM_BROKEN'] as const),
  ...(['UPSTREAM_CONNECT_TIMEOUT', 'UPSTREAM_FIRST_BYTE_TIMEOUT'] as const),
  ...(['UPSTREAM_IDLE_TIMEOUT', 'CALL_TIMEOUT'] as const),
  ...(['EGRESS_REFUSED', 'LOOP_DETECTED', 'REQUEST_TIMEOUT', 'VAULT_SEALED', 'INTERNAL'] as const),
];

t.test('every error reaches the SDK’s user, and no request is made that can’t help', async (t) => {
  const world = await startErrorWorld(t);
  const { upstream, gateway, tokens } = world;
  const { origin, token } = gateway;
  const journalBallast = path.join(gateway.journalDir, 'ballast');

  const scenes = scenesOf(world);
  /** What the whole gateway is in the midst of; one after the other. */
  const plights: readonly (Scene & { readonly begin: () => unknown; readonly end?: () => unknown })[] = [
    {
      code: 'AUTH_UNAVAILABLE',
      requests: [3, 1, 3],
      message: /database is out of reach/,
      connection: as(tokens.uncached),
      begin: () => gateway.database.owner('alter table tokens rename to tokens_away'),
      end: () => gateway.database.owner('alter table tokens_away rename to tokens'),
    },
    {
      code: 'JOURNAL_UNAVAILABLE',
      requests: [3, 1, 3],
      message: /journal cannot be written, and no key is opened/,
      begin: async () => {
        await writeFile(journalBallast, '');
        await truncate(journalBallast, 15 * 1024 * 1024);
        await gateway.installation.journal.measure();
      },
      end: async () => {
        await rm(journalBallast);
        await gateway.installation.journal.measure();
      },
    },
    {
      code: 'UPSTREAM_UNREACHABLE',
      requests: [3, 1, 3],
      message: /could not be reached at http:/,
      begin: () => upstream.close(),
    },
    {
      code: 'SHUTTING_DOWN',
      requests: [3, 1, 3],
      message: /gateway is shutting down/,
      begin: () => gateway.app.dataPlane.gateway.drain(),
    },
  ];

  async function play(scene: Scene): Promise<void> {
    const { code, when } = scene;
    await t.test(when === undefined ? code : `${code}: ${when}`, async (t) => {
      const players = sdks.filter(({ name }) => scene.only?.includes(name) ?? true);
      await Promise.all(
        players.map(async (sdk) => {
          const connection = { origin, token, ...scene.connection?.(sdk) };
          const front = await startFront(t, connection.origin);
          const session = sdk.connect({ ...connection, origin: front.origin });
          const error: unknown = await session.ask(scene.prompt ?? 'hello').then(
            (text) => new Error(`answered: ${text}`),
            (thrown: unknown) => thrown,
          );
          check(t, sdk, scene, front, error);
        }),
      );
    });
  }

  for (const scene of scenes) await play(scene);
  await t.test('without x-should-retry the same refusal costs three requests', async (t) => {
    for (const sdk of sdks) {
      const front = await startFront(t, origin, { isDeafTo: 'x-should-retry' });
      const session = sdk.connect({ origin: front.origin, token: tokens.withoutKeys });
      await t.rejects(session.ask('hello'));
      t.equal(front.answers.length, sdk.name === '@google/genai' ? 1 : 3, sdk.name);
    }
  });

  for (const { begin, end, ...scene } of plights) {
    await begin();
    await play(scene);
    await end?.();
  }

  t.test('no code is left out', async (t) => {
    const played = [...scenes, ...plights].map(({ code }) => code);
    t.same([...new Set([...played, ...elsewhere])].toSorted(), Object.keys(errorTable).toSorted());
  });
});

function check(t: Test, sdk: Sdk, scene: Scene, front: Front, error: unknown): void {
  const { code } = scene;
  const { name } = sdk;
  const status = scene.status ?? errorTable[code].status;
  const [stainless, google, ai] = scene.requests;
  const requests = name === '@google/genai' ? google : name === 'ai' ? ai : stainless;
  t.equal(front.answers.length, requests, `${name}: ${requests} requests`);

  const told = sdk.told(error);
  t.ok(told.isOwn, `${name}: an error of its own class`);
  t.equal(told.status, status, `${name}: the status`);
  t.match(told.message.replaceAll('\\"', '"'), scene.message, `${name}: the message`);
  if (told.gatewayCode !== null || name !== '@google/genai')
    t.equal(told.gatewayCode, code, `${name}: our code`);
  if (told.code !== null) {
    const expected = scene.isRelayed === true ? 'providers_code' : (scene.bodyCode ?? code);
    t.equal(told.code, expected, `${name}: the code in the body`);
  }

  for (const { status: answered, headers } of front.answers) {
    t.equal(answered, status);
    t.equal(headers['x-sallyport-code'], code);
    if (scene.isRelayed === true) {
      t.equal(headers['retry-after'], '7', 'the provider’s own wish');
      continue;
    }
    t.equal(headers['x-should-retry'], errorTable[code].retry ? undefined : 'false');
    if (status === 429 || status === 503) t.ok(Number(headers['retry-after']) >= 1, 'how long to wait');
  }
}
