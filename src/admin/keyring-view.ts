import type { Node } from '../db/node-beat.ts';
import type { KeyringHome } from '../vault/keyring-home.ts';
import { useOf, type RootKeyUse } from '../vault/keyring-survey.ts';
import type { RewrapState } from './rewrap-job.ts';
import { iso } from './moment.ts';

/** The ring as its operator sees it: ids, states and counts, never a key. */
export interface KeyringView {
  readonly source: 'file' | 'environment';
  /** Why the file on disk was not taken over; null: it was. */
  readonly problem: string | null;
  readonly activeRootKey: string;
  readonly keys: readonly {
    readonly id: string;
    readonly state: string;
    readonly scheme: 'local' | 'transit' | 'kms' | null;
    readonly place: string | null;
    readonly workspaceKeys: number;
    readonly intakeKeys: number;
    readonly signingKeys: number;
    readonly canary: boolean;
  }[];
  readonly nodes: readonly {
    readonly nodeId: string;
    readonly bootId: string;
    readonly version: string;
    readonly startedAt: string;
    readonly beatAt: string;
    readonly isLive: boolean;
    readonly rootKeys: readonly string[];
    readonly activeRootKey: string | null;
  }[];
  readonly rewrap: RewrapState;
}

export function viewKeyring(found: {
  readonly home: KeyringHome;
  readonly problem: string | null;
  readonly nodes: readonly Node[];
  readonly uses: ReadonlyMap<string, RootKeyUse>;
  readonly rewrap: RewrapState;
}): KeyringView {
  const { home, problem, nodes, uses, rewrap } = found;
  return {
    source: home.source,
    problem,
    activeRootKey: home.ring.active().id,
    keys: home.ring.list().map((key) => ({ ...key, ...useOf(uses, key.id) })),
    nodes: nodes.map(({ startedAt, beatAt, ...node }) => ({
      ...node,
      startedAt: iso(startedAt),
      beatAt: iso(beatAt),
    })),
    rewrap,
  };
}
