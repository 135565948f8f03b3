import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { startEmbedded } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { openStore } from '../../src/db/store.ts';
import { createShipper } from '../../src/journal/shipper.ts';
import { verifyJournal } from '../../src/journal/verify.ts';
import { folder, openTestJournal, relay } from './fixture.ts';

t.test(
  'the database stops and comes back: calls go on, lag says how far behind, all of it arrives once',
  async (t) => {
    const dataDir = await mkdtemp(join(tmpdir(), 'sallyport-outage-'));
    // As root the server runs under another uid.
    await chmod(dataDir, 0o711);
    t.teardown(() => rm(dataDir, { recursive: true, force: true }));
    const dir = await folder(t);
    let database = await startEmbedded({ dataDir, settings: { fsync: 'off' } });
    t.teardown(() => database.stop());
    await migrate(database.connection);
    const store = openStore({ connection: database.connection });
    t.teardown(() => store.close());
    const journal = await openTestJournal(t, dir);
    let failed = Promise.withResolvers<void>();
    const shipper = createShipper({
      store,
      journal,
      clock: Date.now,
      intervalMs: 20,
      onError: () => failed.resolve(),
    });
    t.teardown(() => shipper.stop());
    shipper.start();
    await Promise.all(Array.from({ length: 100 }, () => relay(journal)));
    await shipper.flush();
    t.equal(shipper.lag().records, 0);

    await database.stop();
    failed = Promise.withResolvers<void>();
    await Promise.all(Array.from({ length: 500 }, () => relay(journal)));
    await failed.promise;
    t.ok(journal.isOpen());
    t.equal(shipper.lag().records, 1000);
    t.ok(shipper.lag().bytes > 500_000);
    t.ok(shipper.lag().seconds > 0);

    database = await startEmbedded({ dataDir, settings: { fsync: 'off' } });
    await shipper.flush();
    t.same(shipper.lag(), { records: 0, bytes: 0, seconds: 0 });
    t.match(await verifyJournal({ dir, store }), { ok: true, records: 1201, openCalls: 0, problems: [] });
  },
);
