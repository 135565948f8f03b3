import { sql } from 'kysely';
import type { Store, Tx } from '../db/store.ts';
import { newId } from '../ids.ts';
import type { Journal } from '../journal/journal.ts';
import {
  countRefusals,
  forgetOld,
  isFull,
  markSeen,
  markUsed,
  readBusyHours,
  readLastHour,
  readRefusals,
  readSeen,
  readSubjects,
  readUses,
  type Stretch,
  unseenStretches,
  type Uses,
} from './alert-readings.ts';
import {
  afterSilence,
  type AlertRule,
  bounds,
  type Finding,
  manyRefusals,
  newNetworks,
  type Subject,
  unusualRate,
} from './alert-rules.ts';

/** An alert that was not there before. */
export interface RaisedAlert {
  readonly alertId: string;
  readonly rule: AlertRule;
  readonly workspaceId: string;
  readonly userId: string;
  readonly keyId: string | null;
  readonly tokenId: string | null;
}

export interface AlertWatchDeps {
  readonly store: Pick<Store, 'asSystem'>;
  readonly journal: Pick<Journal, 'append'>;
  readonly clock: () => number;
  readonly onRaised: (alert: RaisedAlert) => void;
}

export interface AlertWatch {
  /** Looks at what has come since the last time; nothing where another node is at it. */
  look(): Promise<void>;
  forget(): Promise<void>;
}

/** One of the application's own advisory locks: of the nodes one looks at a time. Of the transaction, for a pooler's sake. */
const lookingLock = 0x73_70_61_6c;
/** Transactions of one look; what is left is for the next. */
const maxAtOnce = 50;

/**
 * Reads the journal behind the shipper, each record once, and the hourly sums, and raises alerts. Far from the calls: they wait for
 * nothing here.
 */
export function createAlertWatch({ store, journal, clock, onRaised }: AlertWatchDeps): AlertWatch {
  return Object.freeze<AlertWatch>({
    async look() {
      // Each stream until its end was reached once: where several are written without pause, the others have their turn.
      const reached = new Set<string>();
      for (let i = 0; i < maxAtOnce; i += 1) {
        const looked = await alone(async (tx) => {
          const unseen = await unseenStretches(tx);
          const stretches = unseen.filter(({ stream }) => !reached.has(stream)).slice(0, 5);
          const findings: Finding[] = [];
          for (const stretch of stretches) findings.push(...(await lookAt(tx, stretch)));
          return { findings, value: stretches };
        });
        if (looked === null || looked.length === 0) break;
        for (const stretch of looked) if (!isFull(stretch)) reached.add(stretch.stream);
      }
      await alone(async (tx) => ({
        findings: (await readBusyHours(tx, new Date(clock()))).flatMap((hour) => unusualRate(hour) ?? []),
        value: true,
      }));
    },
    forget: () => store.asSystem((tx) => forgetOld(tx, new Date(clock()))),
  });

  /** @returns null: another node is at it. */
  async function alone<T>(work: (tx: Tx) => Promise<{ findings: Finding[]; value: T }>): Promise<T | null> {
    const raised: RaisedAlert[] = [];
    const value = await store.asSystem(async (tx) => {
      const { rows } = await sql<{
        held: boolean;
      }>`select pg_try_advisory_xact_lock(${lookingLock}) as held`.execute(tx);
      if (rows[0]?.held !== true) return null;
      const { findings, value } = await work(tx);
      for (const finding of findings) {
        const alert = await raise(tx, finding);
        if (alert !== null) raised.push(alert);
      }
      return value;
    });
    raised.forEach(onRaised);
    return value;
  }

  async function lookAt(tx: Tx, stretch: Stretch): Promise<readonly Finding[]> {
    const findings = [...(await lookAtUses(tx, stretch)), ...(await lookAtRefusals(tx, stretch))];
    await markSeen(tx, stretch);
    const oldest = clock() - bounds.oldestMs;
    return findings.filter(({ at }) => at.getTime() >= oldest);
  }

  async function lookAtUses(tx: Tx, stretch: Stretch): Promise<Finding[]> {
    const uses = await readUses(tx, stretch);
    const byId = new Map<string, Uses[]>();
    for (const use of uses)
      for (const id of [use.tokenId, use.keyId])
        if (id !== null) byId.getOrInsertComputed(id, () => []).push(use);
    const ids = [...byId.keys()];
    const seen = await readSeen(tx, ids);
    const bySubject = [...(await readSubjects(tx, ids)).values()].map((subject) => ({
      subject,
      uses: byId.get(subject.id) ?? [],
    }));
    const returns: Finding[] = [];
    for (const { subject, uses } of bySubject) {
      const at = new Date(Math.min(...uses.map(({ firstAt }) => firstAt.getTime())));
      const last = seen.get(subject.id)?.get('') ?? (await readLastHour(tx, subject, at));
      const back = { subject, at, since: last ?? subject.madeAt, wasUsed: last !== null };
      returns.push(...[afterSilence(back) ?? []].flat());
    }
    const networks = bySubject.flatMap(({ subject, uses }) =>
      uses.flatMap(({ network, ...use }) => (network === null ? [] : [{ subject, network, ...use }])),
    );
    const known = new Map(
      [...seen].map(([id, rows]) => [id, new Set([...rows.keys()].filter((network) => network !== ''))]),
    );
    await markUsed(tx, [...networks, ...bySubject.flatMap(anyNetwork)]);
    return [...newNetworks(networks, known), ...returns];
  }

  async function lookAtRefusals(tx: Tx, stretch: Stretch): Promise<Finding[]> {
    const touched = await countRefusals(tx, stretch);
    const subjects = await readSubjects(
      tx,
      touched.map(({ tokenId }) => tokenId),
    );
    const findings: Finding[] = [];
    const done = new Set<string>();
    for (const { workspaceId, tokenId, hour } of touched) {
      const subject = subjects.get(tokenId);
      const name = `${tokenId} ${hour.getTime()}`;
      if (subject === undefined || done.has(name)) continue;
      done.add(name);
      const counts = await readRefusals(tx, { workspaceId, hour });
      const mine = counts.filter((row) => row.tokenId === tokenId);
      const byCode = Object.fromEntries(mine.map(({ code, count }) => [code, count]));
      const summarized = counts
        .filter((row) => row.tokenId === '' && Object.hasOwn(byCode, row.code))
        .reduce((sum, { count }) => sum + count, 0);
      findings.push(...[manyRefusals({ subject, hour, byCode, summarized }) ?? []].flat());
    }
    return findings;
  }

  /** One a rule, subject and day: what comes again moves its numbers, and is told to nobody a second time. */
  async function raise(tx: Tx, finding: Finding): Promise<RaisedAlert | null> {
    const { rule, subject, at, explanation, numbers } = finding;
    const { id, kind, userId, workspaceId } = subject;
    const [keyId, tokenId] = kind === 'key' ? [id, null] : [null, id];
    const alertId = newId('alert', clock());
    const { rows } = await sql<{ id: string }>`
      insert into alerts (id, workspace_id, rule, subject, key_id, token_id, user_id, day, explanation, numbers, first_at, last_at, count, created_at)
      values (${alertId}, ${workspaceId}, ${rule}, ${id}, ${keyId}, ${tokenId}, ${userId}, ${at.toISOString().slice(0, 10)}::date,
        ${explanation}, ${JSON.stringify(numbers)}::jsonb, ${at}, ${at}, 1, ${new Date(clock())})
      on conflict (workspace_id, rule, subject, day) do update set explanation = excluded.explanation, numbers = excluded.numbers,
        last_at = greatest(alerts.last_at, excluded.last_at), count = alerts.count + 1
      returning id`.execute(tx);
    if (rows[0]?.id !== alertId) return null;
    const raised: RaisedAlert = { alertId, rule, workspaceId, userId, keyId, tokenId };
    await journal.append('alert.raised', { ...raised, actor: { type: 'system', id: 'alerts' } });
    return raised;
  }
}

function anyNetwork({ subject, uses }: { subject: Subject; uses: readonly Uses[] }) {
  return uses.map(({ lastAt }) => ({ subject, network: '', lastAt }));
}
