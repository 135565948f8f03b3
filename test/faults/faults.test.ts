import t from 'tap';
import type { Test } from 'tap';
import { allFaults as faults } from './all-faults.ts';
import { answer, json, jsonChat, type Fault } from './fault.ts';
import { nameOf, places, setStage, type Played } from './stage.ts';

/*
 * Each fault by name: what the client sees, how many requests the provider gets, and what is recorded. The faults run beside each other
 * over one gateway; the records of all of them are looked at when the last has ended.
 */
t.setTimeout(60_000);

const stage = await setStage(t, { timeouts: { firstByteMs: 1000, betweenBytesMs: 1000 } });
const { gateway, upstream } = stage;
const played: { readonly fault: Fault; readonly name: string }[] = [];

async function play(t: Test, fault: Fault): Promise<void> {
  const seen = await stage.play(fault);
  played.push({ fault, name: nameOf(seen) });
  t.equal(seen.requests, fault.requests ?? fault.ends.length, 'requests that the provider got');
  if (fault.sees !== null) look(t, fault.sees, seen);
}

function look(t: Test, sees: NonNullable<Fault['sees']>, seen: Played): void {
  const body = seen.body.toString('latin1');
  t.equal(seen.status, sees.status, body.slice(0, 500));
  t.equal(seen.header('x-sallyport-code'), sees.code ?? null);
  t.equal(seen.isWhole, sees.isWhole, 'whole by its framing');
  // A regular expression would take its time over megabytes.
  if (sees.body instanceof RegExp) t.match(body.slice(0, 1000) + body.slice(1000).slice(-2000), sees.body);
  else if (sees.body !== undefined)
    t.ok(seen.body.equals(Buffer.from(sees.body as string)), body.slice(-500));
  if (sees.maxBytes !== undefined) t.ok(seen.body.length <= sees.maxBytes, `${seen.body.length} bytes`);
  for (const [name, value] of Object.entries(sees.headers ?? {})) t.match(seen.header(name), value, name);
}

t.jobs = 16;
for (const fault of faults) t.test(fault.name, { buffered: true, timeout: 10_000 }, (t) => play(t, fault));
t.jobs = 1;

t.test('each attempt has one end that says what became of it', async (t) => {
  const ends = await stage.ends();
  for (const { fault, name } of played) t.same(ends.get(name), fault.ends, fault.name);
  const attempts = await gateway.api('GET', '/usage');
  t.equal(
    attempts.body.totals.attempts,
    faults.flatMap((fault) => fault.ends).length,
    'and there are no others',
  );
});

t.test('nothing is left: no call, no place taken, no connection that broke', async (t) => {
  t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
  t.equal(upstream.sockets.size, 0);
  const gate = Promise.withResolvers<void>();
  let arrived = 0;
  const fault: Fault = {
    name: 'none',
    isStream: false,
    async play({ socket }) {
      arrived += 1;
      if (arrived === places) gate.resolve();
      await gate.promise;
      socket.end(answer(200, jsonChat, json, 'connection: close'));
    },
    sees: null,
    ends: [],
  };
  const all = Array.from({ length: places }, async () => {
    const { status } = await stage.play(fault);
    gate.resolve();
    return status;
  });
  t.same(new Set(await Promise.all(all)), new Set([200]), 'every place of the token is free');
});
