import type { Selectable } from 'kysely';
import type { Schema } from '../db/schema.ts';
import type { Store } from '../db/store.ts';
import { SallyportError } from '../errors.ts';
import { isId, newId } from '../ids.ts';
import type { Act } from './acts.ts';
import { type Affected, findAffected } from './breach-affected.ts';
import { noticeMs } from './breach-clock.ts';
import { breachMessage } from './breach-message.ts';
import { type Channel, createBreachNotices, type NoticesDeps, type NoticeState } from './breach-notices.ts';
import type { Caller } from './caller.ts';
import { found, notFound } from './found.ts';
import { invalid, iso, readMoment } from './moment.ts';
import { type List, type Page, placeOf, rowsToRead, toList } from './paging.ts';
import { demandOperator } from './permissions.ts';

type Row = Selectable<Schema['breaches']>;

export interface BreachView {
  readonly id: string;
  readonly discoveredAt: string;
  /** 72 hours later. */
  readonly dueAt: string;
  readonly noteId: string | null;
  /** Everybody whom it concerns was sent his message. */
  readonly notifiedAt: string | null;
  readonly closedAt: string | null;
}

export interface NotifyInput {
  readonly since: string;
  readonly until?: string | undefined;
  /** Either of them. */
  readonly keyIds?: readonly string[] | undefined;
  readonly all?: boolean | undefined;
  readonly what?: string | undefined;
  readonly contact: string;
  readonly dryRun?: boolean | undefined;
  /** Of the answer before, to go on. */
  readonly cursor?: string | undefined;
}

export interface Notified {
  readonly breach: BreachView;
  readonly users: readonly {
    readonly userId: string;
    readonly workspaceId: string;
    readonly keyIds: readonly string[];
    /** Null: he has no address, and his workspace no webhook. */
    readonly channel: Channel | null;
    /** `before`: he has his message already. `waiting`: it would be sent now, but for the dry run. */
    readonly state: NoticeState | 'before' | 'waiting' | 'unreachable';
    readonly code: string | null;
    /** In a dry run. */
    readonly message: { readonly subject: string; readonly text: string } | null;
  }[];
  /** Of all, not of this page. */
  readonly affected: number;
  /** For the request that goes on: the last user of this one; null: all is done. */
  readonly cursor: string | null;
}

export interface BreachesDeps extends NoticesDeps {
  readonly store: Pick<Store, 'asWorkspace' | 'asSystem'>;
  readonly act: Act;
  /** Where keys of a provider are revoked. */
  readonly keyPage: (provider: string) => string | null;
}

export type Breaches = ReturnType<typeof createBreaches>;

const notHis = 'Breaches are the operator’s.';

/** People of one request, and how long it goes on with the next ones: a mail server may be slow. */
const [pageUsers, pageMs] = [500, 20_000];

/** Breaches and their notices, for the operator alone: they concern every workspace. */
export function createBreaches(deps: BreachesDeps) {
  const { store, act, keyPage, clock } = deps;
  const notices = createBreachNotices(deps);

  return Object.freeze({
    /** The clock runs from here. @throws {SallyportError} REQUEST_INVALID: discovered in the future */
    async open(
      caller: Caller,
      input: { readonly discoveredAt?: string | undefined; readonly noteId?: string | undefined },
    ): Promise<BreachView> {
      demandOperator(caller, notHis);
      const now = new Date(clock());
      const discovered =
        input.discoveredAt === undefined ? now : readMoment('/discoveredAt', input.discoveredAt);
      if (discovered > now) throw invalid('/discoveredAt', 'has to be in the past');
      const row: Row = {
        id: newId('breach', clock()),
        workspace_id: caller.workspaceId,
        discovered_at: discovered,
        note_id: input.noteId ?? null,
        notified_at: null,
        closed_at: null,
        created_at: now,
      };
      const fields = { breachId: row.id, discoveredAt: iso(discovered), noteId: row.note_id };
      await act(caller, 'breach.open', fields, async (tx) => {
        await tx.insertInto('breaches').values(row).execute();
      });
      return view(row);
    },

    async list(caller: Caller, page: Page): Promise<List<BreachView>> {
      demandOperator(caller, notHis);
      const after = placeOf(page, [/^breach_[0-9a-f]{32}$/]);
      const rows = await store.asWorkspace(caller.workspaceId, (tx) => {
        const query = tx
          .selectFrom('breaches')
          .selectAll()
          .where('workspace_id', '=', caller.workspaceId)
          .orderBy('id', 'desc')
          .limit(rowsToRead(page));
        return (after === null ? query : query.where('id', '<', after[0])).execute();
      });
      return toList(rows, page, (row) => [row.id], view);
    },

    /**
     * Who is concerned, and his message; sent to whoever was not sent one before, a page of people at a time.
     *
     * @throws {SallyportError} CONFLICT: it is closed. REQUEST_INVALID.
     */
    async notify(caller: Caller, id: string, input: NotifyInput): Promise<Notified> {
      demandOperator(caller, notHis);
      const breach = await read(caller, id);
      if (breach.closed_at !== null) throw new SallyportError('CONFLICT', 'This breach is closed.');
      const scope = readScope(input, clock());
      const affected = await findAffected(store, keyPage, scope);
      const sent = await notices.sent(id);
      const facts = {
        discoveredAt: breach.discovered_at,
        since: scope.since,
        until: scope.until,
        what: input.what ?? null,
        contact: input.contact,
      };
      const rest = affected.filter(({ userId }) => userId > (input.cursor ?? ''));
      const page = rest.slice(0, pageUsers);
      const ways = await notices.ways(page);
      const began = clock();
      const users: Notified['users'][number][] = [];
      for (const one of page) {
        if (users.length > 0 && clock() - began > pageMs) break;
        users.push(await tell(one));
      }
      const cursor = users.length < rest.length ? (users.at(-1)?.userId ?? null) : null;
      const isOver = cursor === null && input.dryRun !== true && breach.notified_at === null;
      const shown = isOver ? await finish(caller, breach, affected) : breach;
      return { breach: view(shown), users, affected: affected.length, cursor };

      async function tell(one: Affected): Promise<Notified['users'][number]> {
        const { userId, workspaceId, keyIds } = one;
        const way = ways.get(userId) ?? { channel: null };
        const base = { userId, workspaceId, keyIds, channel: way.channel, code: null, message: null };
        const message = breachMessage(facts, one.keys);
        if (sent.has(userId)) return { ...base, state: 'before' };
        if (input.dryRun === true)
          return { ...base, state: way.channel === null ? 'unreachable' : 'waiting', message };
        if (way.channel === null) return { ...base, state: 'unreachable' };
        return { ...base, ...(await notices.send(id, one, way, message)) };
      }
    },

    /** The clock stops, whether the notice is out or not. @throws {SallyportError} CONFLICT: it is closed already. */
    async close(caller: Caller, id: string): Promise<BreachView> {
      demandOperator(caller, notHis);
      const breach = await read(caller, id);
      if (breach.closed_at !== null) throw new SallyportError('CONFLICT', 'This breach is closed already.');
      return view(await mark(caller, 'breach.close', breach, { closed_at: new Date(clock()) }));
    },
  });

  /** The notice is out when everybody has his: who cannot be reached by it keeps the clock running until the operator closes it. */
  async function finish(caller: Caller, breach: Row, affected: readonly Affected[]): Promise<Row> {
    const sent = await notices.sent(breach.id);
    if (affected.length === 0 || affected.some(({ userId }) => !sent.has(userId))) return breach;
    return mark(caller, 'breach.notify', breach, { notified_at: new Date(clock()) });
  }

  async function mark(
    caller: Caller,
    event: string,
    breach: Row,
    change: { readonly notified_at: Date } | { readonly closed_at: Date },
  ): Promise<Row> {
    await act(caller, event, { breachId: breach.id }, async (tx) => {
      await tx
        .updateTable('breaches')
        .set(change)
        .where('workspace_id', '=', caller.workspaceId)
        .where('id', '=', breach.id)
        .execute();
    });
    return { ...breach, ...change };
  }

  async function read(caller: Caller, id: string): Promise<Row> {
    if (!isId('breach', id)) throw notFound('breach');
    const row = await store.asWorkspace(caller.workspaceId, (tx) =>
      tx
        .selectFrom('breaches')
        .selectAll()
        .where('workspace_id', '=', caller.workspaceId)
        .where('id', '=', id)
        .executeTakeFirst(),
    );
    return found(row, 'breach');
  }
}

function readScope({ since, until, keyIds, all }: NotifyInput, now: number) {
  const scope = {
    since: readMoment('/since', since),
    until: until === undefined ? new Date(now) : readMoment('/until', until),
  };
  if (scope.since >= scope.until) throw invalid('/since', 'has to be before until');
  if (scope.until.getTime() - scope.since.getTime() > 400 * 24 * 3_600_000)
    throw invalid('/since', 'has to be at most 400 days before until');
  if ((all === true) === (keyIds !== undefined))
    throw invalid('/keyIds', 'or all has to be given, and not both');
  return { ...scope, keyIds: keyIds ?? null };
}

function view(row: Row): BreachView {
  return {
    id: row.id,
    discoveredAt: iso(row.discovered_at),
    dueAt: new Date(row.discovered_at.getTime() + noticeMs).toISOString(),
    noteId: row.note_id,
    notifiedAt: iso(row.notified_at),
    closedAt: iso(row.closed_at),
  };
}
