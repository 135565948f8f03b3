import type { Fields } from './draft.ts';
import type { JsonValue } from './canonical.ts';
import { receiptText, type JournalRecord } from './chain.ts';

/** What a record that ends a use, or presumes its end, repeats of its begin. */
const names = [
  'callId',
  'attempt',
  'workspaceId',
  'tokenId',
  'userId',
  'keyId',
  'keyVersion',
  'provider',
  'keySource',
  'keyFingerprint',
  'operation',
  'model',
  'upstreamModel',
  'isStream',
  'startedAt',
] as const;

/** Who used what, and where the begin stands; what the begin does not say is null. */
export function useIdentity(begin: JournalRecord): Fields {
  const fields: Record<string, JsonValue> = {};
  for (const name of names) fields[name] = begin[name] ?? null;
  return { ...fields, beginSeq: begin.seq, beginStream: begin.stream, receipt: receiptText(begin) };
}
