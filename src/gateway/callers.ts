import { hash, randomBytes } from 'node:crypto';
import { SallyportError, type ErrorCode } from '../errors.ts';
import type { Credentials } from './credentials.ts';
import { Roster } from '../roster.ts';
import type { Epoch } from './epoch.ts';
import type { CallerSnapshot } from './snapshot.ts';
import type { ParsedToken } from '../ids.ts';

/** A call in flight, as far as revocation needs to know it. */
export interface RunningCall {
  /** The key in use, once one is chosen. */
  readonly keyId: string | null;
  cut(code: ErrorCode, message: string): void;
}

interface Entry {
  snapshot: CallerSnapshot;
  readonly token: ParsedToken;
  epoch: bigint;
  /** The pending reload, so that many calls of one token ask the database once. */
  reload: Promise<void> | null;
  readonly calls: Roster<RunningCall>;
}

export interface HeldCaller {
  /** What the token grants now: a key disabled while a body was being read is not used. */
  readonly current: () => CallerSnapshot;
  /** The same where a change is known that has not been read yet: that is waited for. */
  readonly latest: () => Promise<CallerSnapshot>;
  /** Registers a call for revocation; the returned function ends that. */
  readonly hold: (call: RunningCall) => () => void;
}

export interface CallersDeps {
  readonly read: (token: ParsedToken) => Promise<CallerSnapshot | null>;
  readonly epoch: Pick<Epoch, 'value' | 'ageMs' | 'isStale' | 'staysStale'>;
  readonly staleSeconds: number;
  readonly now: () => number;
  readonly maxEntries?: number;
}

/**
 * The cache of verified tokens. An entry is good while the epoch stands; when it moves, entries with calls in flight are read anew at
 * once (their streams are cut where the token or the key is gone), the others at their next call. With the database away cached
 * callers are served for `staleSeconds`, and unknown tokens get 503, never 401. With the root key away they are served as long as the
 * epoch stands.
 */
export function createCallers({ read, epoch, staleSeconds, now, maxEntries = 10_000 }: CallersDeps) {
  const entries = new Map<string, Entry>();
  const unknown = new Map<string, bigint>();
  /** What stands in memory says nothing of a token to whoever has the database, or another process's memory. */
  const salt = randomBytes(16).toString('hex');
  let hits = 0;
  let misses = 0;

  async function reloadEntry(key: string, entry: Entry): Promise<void> {
    const target = epoch.value();
    const snapshot = await read(entry.token);
    if (snapshot === null) {
      entries.delete(key);
      for (const call of entry.calls.all()) call.cut('AUTH_INVALID', 'The token was revoked.');
      return;
    }
    entry.snapshot = snapshot;
    entry.epoch = target;
    for (const call of entry.calls.all()) {
      if (call.keyId === null) continue;
      const held = snapshot.keys.find((candidate) => candidate.id === call.keyId);
      if (held === undefined) call.cut('KEY_MISSING', 'The provider key was taken away.');
      else if (!held.isActive) call.cut('KEY_DISABLED', 'The provider key was disabled.');
    }
  }

  function cutExpired({ snapshot, calls }: Entry): void {
    const at = now();
    if (!(earliestExpiry(snapshot) <= at)) return;
    for (const call of calls.all()) {
      if (isPast(snapshot.expiresAt, at)) call.cut('AUTH_INVALID', 'The token has expired.');
      else if (snapshot.keys.some((key) => key.id === call.keyId && isPast(key.expiresAt, at)))
        call.cut('KEY_EXPIRED', 'The provider key has expired.');
    }
  }

  function reload(key: string, entry: Entry): Promise<void> {
    entry.reload ??= reloadEntry(key, entry).finally(() => {
      entry.reload = null;
    });
    return entry.reload;
  }

  function evict(): void {
    if (entries.size < maxEntries) return;
    for (const [key, entry] of entries) {
      if (entry.calls.size > 0) continue;
      entries.delete(key);
      return;
    }
  }

  function checkAge(): void {
    if (epoch.isStale() && epoch.ageMs() > staleSeconds * 1000) throw unavailable();
  }

  async function load(key: string, token: ParsedToken): Promise<Entry> {
    const at = epoch.value();
    if (unknown.get(key) === at) throw refused();
    let snapshot: CallerSnapshot | null;
    try {
      snapshot = await read(token);
    } catch (cause) {
      throw isSealed(cause) ? cause : unavailable(cause);
    }
    if (snapshot === null) {
      if (unknown.size >= maxEntries) unknown.clear();
      unknown.set(key, at);
      throw refused();
    }
    const known = entries.get(key);
    if (known !== undefined) return known;
    evict();
    const entry: Entry = { snapshot, token, epoch: at, reload: null, calls: new Roster() };
    entries.set(key, entry);
    return entry;
  }

  async function entryOf(key: string, token: ParsedToken, beforeLookUp: () => void): Promise<Entry> {
    const cached = entries.get(key);
    if (cached === undefined) {
      misses += 1;
      beforeLookUp();
      if (epoch.isStale() && (await epoch.staysStale())) throw unavailable();
      return load(key, token);
    }
    checkAge();
    if (cached.epoch === epoch.value()) hits += 1;
    else {
      misses += 1;
      try {
        await reload(key, cached);
      } catch (error) {
        // The database says that something has changed, and what it was nobody can check: it may be this token's end.
        if (isSealed(error)) throw error;
        checkAge();
        return cached;
      }
      if (!entries.has(key)) throw refused();
    }
    return cached;
  }

  return Object.freeze({
    /**
     * The caller, and a way to register the call that he makes until it ends.
     *
     * @param beforeLookUp may refuse, by throwing, to spend a look-up on a token that is not cached.
     * @throws {SallyportError} AUTH_INVALID, AUTH_UNAVAILABLE, VAULT_SEALED.
     */
    async authenticate(
      credentials: Pick<Credentials, 'text' | 'token'>,
      beforeLookUp: () => void = () => {},
    ): Promise<HeldCaller> {
      const key = hash('sha256', salt + credentials.text);
      const entry = await entryOf(key, credentials.token, beforeLookUp);
      const { snapshot } = entry;
      if (isPast(snapshot.expiresAt, now())) {
        throw new SallyportError('AUTH_INVALID', 'The token has expired.');
      }
      return {
        current: () => entry.snapshot,
        async latest() {
          // With the database away what is known holds, as for a new call; a token that is gone cuts the call.
          if (entry.epoch !== epoch.value()) await reload(key, entry).catch(() => {});
          return entry.snapshot;
        },
        hold(call) {
          // Put out for lack of room in between, it would be looked for by nobody when the token is revoked.
          const live = entries.get(key) ?? entry;
          if (live === entry) entries.set(key, entry);
          const seat = live.calls.add(call);
          return () => seat.leave();
        },
      };
    },
    /** After the epoch moved: whoever has calls in flight is looked at now. A database that fails is asked again at the next poll. */
    refreshRunning(): void {
      for (const [key, entry] of entries) {
        if (entry.calls.size > 0 && entry.epoch !== epoch.value()) reload(key, entry).catch(() => {});
      }
    },
    /** Time alone revokes too, and moves no epoch: to be asked a few times a second. */
    cutExpired(): void {
      for (const entry of entries.values()) if (entry.calls.size > 0) cutExpired(entry);
    },
    size: () => entries.size,
    counts: () => ({ entries: entries.size, hits, misses }),
  });
}

export type Callers = ReturnType<typeof createCallers>;

function isPast(expiresAt: number | null, at: number): boolean {
  return expiresAt !== null && expiresAt <= at;
}

function earliestExpiry({ expiresAt, keys }: CallerSnapshot): number {
  return keys.reduce((earliest, key) => Math.min(earliest, key.expiresAt ?? Infinity), expiresAt ?? Infinity);
}

/** The database answers, and the root key under which its rows are checked does not (docs/root-keys.md). */
function isSealed(error: unknown): boolean {
  return error instanceof SallyportError && error.code === 'VAULT_SEALED';
}

function refused(): SallyportError {
  return new SallyportError('AUTH_INVALID', 'The token is unknown or was revoked.');
}

function unavailable(cause?: unknown): SallyportError {
  return new SallyportError(
    'AUTH_UNAVAILABLE',
    'The database is out of reach, and this token cannot be checked without it.',
    {
      retryAfter: 1,
      cause,
    },
  );
}
