import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { withClient } from '../../src/db/connection.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { smallDisk } from './disk-faults.ts';

/**
 * How long the server is stopped, and its disk is full; the long form, JOURNAL.md's bar: `node test/faults/database-server.test.ts 60`.
 */
const seconds = Number(process.argv[2] ?? 2);
t.setTimeout(180_000 + seconds * 10_000);

const key = 'sk-test-server-0123456789abcdef';
const clients = 8;

t.test(
  'with the database’s server stopped, or its disk full, under load nothing fails and nothing is lost',
  async (t) => {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'sallyport-server-'));
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }));
    const disk = smallDisk(t, dataDir, (160 + 4 * seconds) * 1024 ** 2);
    let database = await startEmbedded({ dataDir });
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
    const limits = { requestsPerMinute: 1_000_000, concurrentCalls: 100 };
    const { body: minted } = await gateway.api('POST', '/tokens', { name: 'app', ...limits });
    const { shipper, store } = gateway.installation;

    /** @returns the statuses of the answers, and how many had each. */
    async function load(forSeconds: number): Promise<ReadonlyMap<number, number>> {
      const statuses = new Map<number, number>();
      const until = performance.now() + forSeconds * 1000;
      const client = async (): Promise<void> => {
        while (performance.now() < until) {
          const { status } = await ask(`${gateway.origin}/v1/chat/completions`, {
            headers: { 'x-api-key': minted.token },
            body: { model: 'gpt-4o' },
          });
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      };
      await Promise.all(Array.from({ length: clients }, client));
      return statuses;
    }

    /**
     * @returns how many seconds it took, with calls going on: new records wait for the next batch all the time, so it is their
     * age that says that nothing old is left.
     */
    async function caughtUp(): Promise<number> {
      const since = performance.now();
      while (shipper.lag().seconds > 1) {
        await load(0.1);
        if (performance.now() - since > 30_000) throw new Error(`${shipper.lag().records} records wait yet`);
      }
      return (performance.now() - since) / 1000;
    }

    async function checkBooks(t: {
      equal(a: unknown, b: unknown): unknown;
      same(a: unknown, b: unknown): unknown;
    }): Promise<void> {
      await gateway.shipped();
      const rows = await store.asSystem((tx) => tx.selectFrom('usage_events').select('call_id').execute());
      t.equal(rows.length, upstream.requests.length);
      t.equal(new Set(rows.map((row) => row.call_id)).size, upstream.requests.length);
      const { problems } = await verifyJournal({ dir: gateway.journalDir, store });
      t.same(problems, []);
      t.equal(shipper.lag().records, 0);
    }

    t.same([...(await load(0.2)).keys()], [200]);

    await t.test(`stopped for ${seconds} s`, async (t) => {
      await database.stop();
      const statuses = await load(seconds);
      t.same([...statuses.keys()], [200], 'no call fails');
      await t.rejects(shipper.flush());
      const waiting = shipper.lag().records;
      t.ok(waiting >= (statuses.get(200) ?? 0), `${waiting} records wait`);
      database = await startEmbedded({ dataDir });
      const took = await caughtUp();
      t.ok(took < 30, `${waiting} records are caught up with in ${took.toFixed(1)} s`);
      await checkBooks(t);
      t.comment(`${statuses.get(200)} calls meanwhile; lag gone after ${took.toFixed(1)} s`);
    });

    await t.test('its disk full', async (t) => {
      // Where nobody may mount a disk, the server says the same for another reason.
      const refuse = `create function is_full() returns trigger language plpgsql as $$
      begin raise exception 'no room' using errcode = 'disk_full'; end $$;
      create trigger is_full before insert on journal for each statement execute function is_full()`;
      if (disk === null) await owner(refuse);
      else disk.fill();
      const statuses = await load(seconds);
      t.same([...statuses.keys()], [200], 'no call fails');
      await gateway.app.dataPlane.settled();
      await t.rejects(shipper.flush());
      const waiting = shipper.lag().records;
      t.ok(waiting > 0, `${waiting} records wait`);
      if (disk === null) await owner('drop trigger is_full on journal');
      else disk.free();
      // A server that could not write its log has ended: whoever made room starts it again.
      const isThere = await withClient(database.connection, async () => true).catch(() => false);
      if (!isThere) {
        await database.stop();
        database = await startEmbedded({ dataDir });
      }
      const took = await caughtUp();
      await checkBooks(t);
      t.comment(
        `${disk === null ? 'refused' : 'full'}; ${statuses.get(200)} calls meanwhile; the server ${isThere ? 'went on' : 'ended'}; lag gone after ${took.toFixed(1)} s`,
      );
    });
  },
);
