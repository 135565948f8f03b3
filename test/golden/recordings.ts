import { readFileSync, readdirSync } from 'node:fs';
import type { ErrorCode } from '../../src/errors.ts';
import type { Usage } from '../../src/dialects/usage.ts';

/** One golden answer, and what has to be read from it. Written after each provider's documented format. */
export interface Recording {
  readonly provider: string;
  readonly file: string;
  readonly bytes: Buffer;
  readonly status: number;
  readonly method?: string;
  readonly path?: string;
  readonly operation?: string;
  /** The model that was asked for, where the answer names none. */
  readonly asked?: string;
  /** Where the answer comes from, for a custom provider. */
  readonly origin?: string;
  /** The provider's page that it was written after. */
  readonly page?: string;
  /** What is charged for besides `usage`: what is not 0. */
  readonly billed?: Readonly<Record<string, number | string>>;
  /** No tokens, but counts of another kind. */
  readonly counted?: true;
  /** How its cost was worked out by hand: counts times dollars for a million of them, in all divided by a million. */
  readonly work?: string | null;
  /** In dollars, as at the first of November 2026, rounded to a nano-dollar. Null: not known. */
  readonly cost?: string | null;
  /** Null: whole, but without token counts. */
  readonly usage?: Usage | null;
  /** It broke inside of a 200: counts are only estimated. */
  readonly estimated?: true;
  readonly error?: string;
  readonly model?: string | null;
  readonly unmetered?: true;
  /** Has the extra usage chunk of OpenAI's dialect. */
  readonly held?: true;
  readonly code?: ErrorCode | null;
  readonly refusal?: boolean;
}

const folder = new URL('.', import.meta.url);

export const recordedProviders: readonly string[] = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

export function recordingsOf(provider: string): readonly Recording[] {
  const at = new URL(`${provider}/`, folder);
  const rows = JSON.parse(readFileSync(new URL('recordings.json', at), 'utf8')) as Omit<
    Recording,
    'provider' | 'bytes'
  >[];
  return rows.map((row) => ({ ...row, provider, bytes: readFileSync(new URL(row.file, at)) }));
}

export const recordings: readonly Recording[] = recordedProviders.flatMap(recordingsOf);
