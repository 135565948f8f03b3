import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { newId } from '../ids.ts';
import type { Fields, Journal } from '../journal/journal.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import type { Outcomes } from './outcomes.ts';

/** What an act concerns: ids and settings, never names, mail addresses or values (the journal is not erased with a person). */
export interface ActFields extends Fields {
  readonly [name: string]: Fields[string];
}

/** Ids in one record: each takes 39 bytes, and there is room for 256 KiB. */
export const mostNamed = 5000;

export interface Acted<T> {
  readonly value: T;
  /** `<stream>.<seq>.<16 hex>` of the outcome's record. */
  readonly receipt: string;
}

/**
 * One administrative act: `<event>.intent` durable → the transaction with its row in `acts` and the epoch's bump → `.done` or `.failed`.
 * `work` runs inside the transaction and makes no call over the network.
 *
 * @throws {SallyportError} JOURNAL_UNAVAILABLE before anything was done; whatever `work` throws, rolled back.
 */
export type Act = <T>(
  caller: Caller,
  event: string,
  fields: ActFields,
  work: (tx: Tx, actId: string) => Promise<T>,
) => Promise<Acted<T>>;

export interface ActsDeps {
  readonly store: Pick<Store, 'asWorkspace'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly outcomes: Pick<Outcomes, 'write' | 'find'>;
  readonly markClient: Vault['markClient'];
  readonly clock: () => number;
}

export function createActs({ store, journal, outcomes, markClient, clock }: ActsDeps): Act {
  return async function act(caller, event, fields, work) {
    const actId = newId('act', clock());
    const actor = { type: caller.type, id: caller.id };
    const who = { actId, workspaceId: caller.workspaceId, actor };
    const from = caller.ip === null ? null : markClient(caller.ip, caller);
    const place = { ip: from?.clientIpHash ?? null, network: from?.network ?? null };
    const intent = await journal.append(`${event}.intent`, { ...fields, ...who, ...place });
    const outcome = { ...subjectOf(fields), ...who };

    let isWorkDone = false;
    let value;
    try {
      value = await store.asWorkspace(caller.workspaceId, async (tx) => {
        // The intent's hash ties this row to one record of the chain: neither can be exchanged for another unseen.
        const digest = Buffer.from(intent.hash, 'hex');
        await tx
          .insertInto('acts')
          .values({ act_id: actId, workspace_id: caller.workspaceId, digest, at: new Date(clock()) })
          .execute();
        const result = await work(tx, actId);
        // Last, because every act takes this row's lock and holds it until COMMIT.
        await sql`update epoch set value = value + 1`.execute(tx);
        isWorkDone = true;
        return result;
      });
    } catch (error) {
      if (isWorkDone && !isAnsweredByServer(error)) {
        // COMMIT was sent and its answer lost: only the row in `acts` knows.
        outcomes.find({ event, actId, workspaceId: caller.workspaceId, outcome });
        throw new SallyportError(
          'INTERNAL',
          'The database went away during COMMIT: it is not known whether this was done.',
          {
            fix: 'Read the resource again before you repeat the request.',
            cause: error,
          },
        );
      }
      const code = error instanceof SallyportError ? error.code : 'INTERNAL';
      // A journal that has closed meanwhile must not hide why the act failed.
      await outcomes.write(`${event}.failed`, { ...outcome, code });
      throw error;
    }
    // Done is done: were the journal's refusal told as an error, the caller would do it twice.
    const done = await outcomes.write(`${event}.done`, outcome);
    return { value, receipt: (done ?? intent).text };
  };
}

function subjectOf({ keyId, tokenId, userId, sealId }: ActFields): ActFields {
  return {
    ...(keyId === undefined ? {} : { keyId }),
    ...(tokenId === undefined ? {} : { tokenId }),
    ...(userId === undefined ? {} : { userId }),
    ...(sealId === undefined ? {} : { sealId }),
  };
}

/** The server answered COMMIT with an error of its own: rolled back for certain. Classes 08 and 57 are lost connections and shutdowns; EPIPE only looks like a class. */
function isAnsweredByServer(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^(?:08|57|E)/.test(code);
}
