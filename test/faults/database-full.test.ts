import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { withClient } from '../../src/db/connection.ts';
import { type Embedded, startEmbedded } from '../../src/db/embedded.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { smallDisk } from './disk-faults.ts';

/** Calls while the disk is full; the long form: `node test/faults/database-full.test.ts 20000`. */
const calls = Number(process.argv[2] ?? 300);
t.setTimeout(120_000 + calls * 20);

const key = 'sk-test-full-0123456789abcdef';

t.test(
  'while the database’s disk is full calls go on, and what was recorded arrives when there is room',
  async (t) => {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'sallyport-full-'));
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
    const disk = smallDisk(t, dataDir, 160 * 1024 ** 2);
    let database: Embedded = await startEmbedded({ dataDir });
    t.teardown(() => database.stop());
    const owner = (text: string): Promise<unknown> =>
      withClient(database.connection, (client) => client.query(text));
    const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
    const upstream = await scriptUpstream(t, { key, script: [{ body: { choices: [], usage } }] });
    const gateway = await startGateway(t, {
      upstreams: { openai: upstream.origin },
      through: async () => database.connection,
    });
    await gateway.addKey('openai', key);
    const { body: minted } = await gateway.api('POST', '/tokens', {
      name: 'app',
      requestsPerMinute: 1_000_000,
      concurrentCalls: 100,
    });
    const { shipper, store } = gateway.installation;
    const call = async (): Promise<number> =>
      (
        await ask(`${gateway.origin}/v1/chat/completions`, {
          headers: { 'x-api-key': minted.token },
          body: { model: 'gpt-4o' },
        })
      ).status;
    t.equal(await call(), 200);
    await gateway.shipped();

    // Where nobody may mount a disk, the server says the same for another reason.
    const refuse = `create function is_full() returns trigger language plpgsql as $$
    begin raise exception 'no room' using errcode = 'disk_full'; end $$;
    create trigger is_full before insert on journal for each statement execute function is_full()`;
    if (disk === null) await owner(refuse);
    else disk.fill();
    const statuses = new Map<number, number>();
    let left = calls;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        while ((left -= 1) >= 0) {
          const status = await call();
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      }),
    );
    t.same(statuses, new Map([[200, calls]]), 'no call fails');
    await gateway.app.dataPlane.settled();
    await t.rejects(shipper.flush());
    t.ok(shipper.lag().records > 0, `${shipper.lag().records} records wait`);

    if (disk === null) await owner('drop trigger is_full on journal');
    else disk.free();
    // A server that could not write its log has ended: whoever made room starts it again.
    const isThere = await withClient(database.connection, async () => true).catch(() => false);
    if (!isThere) {
      await database.stop();
      database = await startEmbedded({ dataDir });
    }
    const since = performance.now();
    while (shipper.lag().records > 0) {
      if (performance.now() - since > 30_000) throw new Error('the lag does not end');
      await shipper.flush().catch(() => {});
    }
    const rows = await store.asSystem((tx) => tx.selectFrom('usage_events').select('call_id').execute());
    t.equal(rows.length, upstream.requests.length);
    t.equal(new Set(rows.map((row) => row.call_id)).size, upstream.requests.length);
    const verdict = await verifyJournal({ dir: gateway.journalDir, store });
    t.same(verdict.problems, []);
    t.equal(await call(), 200);
    t.comment(`${disk === null ? 'refused' : 'full'}; the server ${isThere ? 'went on' : 'ended'}`);
  },
);
