import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '../../src/ids.ts';
import { createCheckpointKeys, type CheckpointKeys } from '../../src/journal/checkpoint-keys.ts';
import { createCheckpoints } from '../../src/journal/checkpoints.ts';
import { openJournal, type Journal } from '../../src/journal/journal.ts';
import { createNoteFile } from '../../src/journal/note-file.ts';
import { createShipper, type Shipper } from '../../src/journal/shipper.ts';
import { begin, end, newCall, workspaceId } from '../journal/fixture.ts';
import { testVault, type TestVault } from '../vault/test-vault.ts';

interface Teardown {
  teardown(work: () => Promise<void> | void): void;
}

/** What honest gateways have written: two nodes, a boot after the other, their clocks set back and forth all the time. */
export interface HonestJournal extends Pick<TestVault, 'database' | 'vault'> {
  /** The folders of the nodes, with what is not yet deleted of their files. */
  readonly dirs: readonly string[];
  /** The copy of the checkpoints. */
  readonly copy: string;
  readonly keys: CheckpointKeys;
  readonly records: number;
  /** Of the boots, oldest first. */
  readonly streams: readonly string[];
}

const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];
/** Clocks that are set, by hand or by a time server: forth, back, over midnight and the month's end and back again. */
const jumps = [
  0,
  90,
  -1500,
  hour,
  -2 * hour,
  25 * hour,
  -3 * minute,
  31 * day,
  -33 * day,
  2 * day,
  -250,
  minute,
];

/**
 * @param folder of its own.
 * @param count about so many records, in at least four streams.
 */
export async function writeHonestJournal(t: Teardown, folder: string, count: number): Promise<HonestJournal> {
  const { database, time, vault } = await testVault(t);
  const { store } = database;
  let [jump, ticks] = [0, 0];
  time.now = Date.now();
  const start = time.now;
  const clock = (): number => time.now + (jumps[jump % jumps.length] as number);
  const step = (): void => {
    ticks += 1;
    time.now += 3;
    if (ticks % 97 === 0) jump += 1;
    // A month either way is what partitions are made for.
    if (time.now - start > 20 * day) time.now = start;
  };
  const keys = createCheckpointKeys(vault, clock);
  const dirs = [join(folder, 'node_a'), join(folder, 'node_b')];
  await mkdir(folder, { recursive: true });
  const copy = join(folder, 'checkpoints.txt');
  const file = createNoteFile({ path: copy, store });
  const streams: string[] = [];
  const boots = 4;
  let records = 0;

  async function relay(journal: Journal, i: number): Promise<void> {
    const call = newCall(new Date(clock()).toISOString());
    const receipt = await journal.append('use.begin', begin(call));
    step();
    const isOdd = i % 7 === 0;
    await journal.append(
      'use.end',
      end(
        call,
        receipt,
        isOdd
          ? {
              usageSource: 'unknown',
              usage: {},
              outcome: 'UPSTREAM_ERROR',
              providerUsage: null,
              costNanoUsd: null,
            }
          : {
              model: `gpt-4o-${i % 5}`,
              providerUsage: { prompt_tokens: i, details: { b: 1.5, 'a"\u00e9\u2028': null } },
            },
      ),
    );
  }

  async function act(journal: Journal, isDone: boolean): Promise<void> {
    const actId = newId('act', clock());
    const fields = { actId, workspaceId, actor: { type: 'cli', id: 'cli' } };
    const { hash } = await journal.append('key.create.intent', fields);
    step();
    if (isDone) {
      const row = {
        act_id: actId,
        workspace_id: workspaceId,
        digest: Buffer.from(hash, 'hex'),
        at: new Date(clock()),
      };
      await store.asWorkspace(workspaceId, (tx) => tx.insertInto('acts').values(row).execute());
    }
    await journal.append(`key.create.${isDone ? 'done' : 'failed'}`, fields);
  }

  async function flush(shipper: Shipper, checkpoints: ReturnType<typeof createCheckpoints>): Promise<void> {
    await shipper.flush();
    await checkpoints.write();
    await file.follow();
  }

  for (let boot = 0; boot < boots; boot += 1) {
    const nodeId = boot % 2 === 0 ? 'node_a' : 'node_b';
    const dir = dirs[boot % 2] as string;
    const journal = await openJournal({
      dir,
      nodeId,
      bootId: newId('act'),
      sync: 'relaxed',
      maxBytes: 64 * 1024 ** 3,
      clock,
    });
    streams.push(journal.stream);
    const shipper = createShipper({ store, journal, clock });
    const checkpoints = createCheckpoints({
      store,
      journal,
      keys,
      clock,
      everyRecords: Math.min(1000, count / 40),
      onFault: (fault) => {
        throw new Error(`an honest stream was held back: ${JSON.stringify(fault)}`);
      },
    });
    const until = Math.floor((count * (boot + 1)) / boots);
    records += 1;
    for (let round = 0; records < until; round += 1) {
      const calls = Math.min(count / 40, 5000, Math.ceil((until - records) / 2));
      await Promise.all(Array.from({ length: calls }, (_, i) => relay(journal, i)));
      await Promise.all([act(journal, true), act(journal, round % 3 === 0)]);
      records += 2 * calls + 4;
      await flush(shipper, checkpoints);
      if (boot === 1 && round === 0) {
        await (await keys.takeover()).keep();
        // The process says so when it signs again.
        records += 1;
      }
    }
    await journal.close();
    records += 1;
    await flush(shipper, checkpoints);
    // Each boot has put its key on record.
    records += 1;
    await shipper.stop();
  }
  return { database, vault, dirs, copy, keys, records, streams };
}
