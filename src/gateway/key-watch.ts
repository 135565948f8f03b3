import type { Provider } from '../providers/provider.ts';
import type { ProbeResult } from './probe.ts';
import type { CallerSnapshot, KeySnapshot } from './snapshot.ts';
import type { Target } from './target.ts';

type Caller = Pick<CallerSnapshot, 'workspaceId' | 'userId'>;

export interface KeyWatchDeps {
  readonly providers: ReadonlyMap<string, Provider>;
  /** One request of our own, with nothing of any client's. */
  readonly probe: (provider: Provider, key: KeySnapshot, caller: Caller, seal: null) => Promise<ProbeResult>;
  /** The key is not to be sent any more; durable, and known to all nodes. */
  readonly takeOut: (key: KeySnapshot, caller: Caller, result: ProbeResult) => Promise<void>;
  readonly putBack: (key: KeySnapshot, caller: Caller, result: ProbeResult) => Promise<void>;
  /** What was held against the key, for a refusal that did not mean it. */
  readonly forget: (keyId: string) => void;
  readonly onError: (keyId: string, error: unknown) => void;
  readonly now: () => number;
}

/**
 * A provider's refusal of a key may be a client's doing: a header, a path, a model that the key is not for. So no call takes a key from
 * everybody else; a test of our own does, of that key at its own origin, in the background, at most one a minute.
 */
export interface KeyWatch {
  /** A call was refused for its key. @returns whether that tells against the key: not within a minute of a good test */
  refused(target: Target, caller: Caller): boolean;
  /** A call went well. */
  worked(keyId: string): void;
  /** Keys that were taken out are tested again, the longer the seldomer: a provider may have been wrong. */
  retest(keys: readonly KeySnapshot[], caller: Caller): void;
  /** No test is under way. */
  settled(): Promise<void>;
}

const minuteMs = 60_000;
const maxRetestMs = 60 * minuteMs;
/** A key that served a call within this time is not bad because a list of models is forbidden to it. */
const provenMs = 10 * minuteMs;
const maxEntries = 10_000;

interface Tested {
  readonly at: number;
  /** Null: under way, or it said nothing of the key. */
  readonly isGood: boolean | null;
  /** Bad ones in a row. */
  readonly refusals: number;
}

export function createKeyWatch(deps: KeyWatchDeps): KeyWatch {
  const { now } = deps;
  const tests = new Map<string, Tested>();
  const workedAt = new Map<string, number>();
  const underway = new Set<Promise<void>>();
  /** A new value was not tested yet. */
  const nameOf = ({ id, version }: KeySnapshot): string => `${id} ${version}`;

  function note(key: KeySnapshot, tested: Tested): void {
    const name = nameOf(key);
    tests.delete(name);
    tests.set(name, tested);
    const [oldest] = tests.keys();
    if (tests.size > maxEntries && oldest !== undefined) tests.delete(oldest);
  }

  function start(key: KeySnapshot, caller: Caller): void {
    const refusals = tests.get(nameOf(key))?.refusals ?? 0;
    note(key, { at: now(), isGood: null, refusals });
    const work = test(key, caller, refusals)
      .catch((error: unknown) => deps.onError(key.id, error))
      .finally(() => underway.delete(work));
    underway.add(work);
  }

  async function test(key: KeySnapshot, caller: Caller, refusals: number): Promise<void> {
    const provider = deps.providers.get(key.provider);
    if (provider === undefined) return;
    const result = await deps.probe(provider, key, caller, null);
    if (result.ok) {
      note(key, { at: now(), isGood: true, refusals: 0 });
      deps.forget(key.id);
      if (key.isRefused) await deps.putBack(key, caller, result);
    } else if (isRefusal(key, result)) {
      note(key, { at: now(), isGood: false, refusals: refusals + 1 });
      if (!key.isRefused) await deps.takeOut(key, caller, result);
    }
  }

  /** 403 may be about the list of models alone: some keys are for a few endpoints. */
  function isRefusal(key: KeySnapshot, { code, status }: ProbeResult): boolean {
    if (code !== 'UPSTREAM_AUTH') return false;
    return status !== 403 || now() - (workedAt.get(key.id) ?? -Infinity) > provenMs;
  }

  return Object.freeze<KeyWatch>({
    refused({ key }, caller) {
      // What is sealed opens with its seal only, and that is the call's, for the call.
      if (key.id === null || key.protection === 'sealed') return true;
      const last = tests.get(nameOf(key));
      if (last !== undefined && now() - last.at < minuteMs) return last.isGood !== true;
      start(key, caller);
      return true;
    },
    worked(keyId) {
      if (workedAt.size >= maxEntries && !workedAt.has(keyId)) workedAt.clear();
      workedAt.set(keyId, now());
    },
    retest(keys, caller) {
      for (const key of keys) {
        if (key.protection === 'sealed' || !key.isActive || key.purpose !== 'relay') continue;
        const last = tests.get(nameOf(key));
        const wait = Math.min(maxRetestMs, minuteMs * 2 ** Math.min(last?.refusals ?? 0, 6));
        if (last === undefined || now() - last.at >= wait) start(key, caller);
      }
    },
    async settled() {
      while (underway.size > 0) await Promise.all(underway);
    },
  });
}
