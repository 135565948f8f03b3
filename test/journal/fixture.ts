import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diskFiles, type FileSeam, type JournalFile } from '../../src/journal/file-seam.ts';
import { newId } from '../../src/ids.ts';
import {
  type Fields,
  type Journal,
  type JournalOptions,
  openJournal,
  type Receipt,
} from '../../src/journal/journal.ts';

interface Teardown {
  teardown(work: () => Promise<unknown>): void;
}

export async function folder(t: Teardown): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sallyport-journal-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return join(path, 'journal');
}

/** A journal over a real folder, closed with the test. */
export async function openTestJournal(
  t: Teardown,
  dir: string,
  options: Partial<JournalOptions> = {},
): Promise<Journal> {
  const journal = await openJournal({
    dir,
    nodeId: 'node_a',
    bootId: newId('act'),
    sync: 'strict',
    maxBytes: 1024 ** 3,
    clock: Date.now,
    ...options,
  });
  t.teardown(() => journal.close());
  return journal;
}

export const workspaceId = newId('ws');

export interface Call {
  readonly callId: string;
  readonly attempt: number;
  readonly startedAt: string;
}

export function newCall(startedAt = new Date().toISOString()): Call {
  return { callId: newId('call'), attempt: 1, startedAt };
}

const who = {
  workspaceId,
  tokenId: 'tok_1',
  userId: 'usr_1',
  keyId: 'key_1',
  keyVersion: 1,
  keySource: 'own',
  provider: 'openai',
};

export function begin(call: Call, more: Fields = {}): Fields {
  return {
    ...call,
    ...who,
    operation: 'openai.chat',
    model: 'gpt-4o',
    isStream: true,
    protection: 'standard',
    origin: 'https://api.openai.com',
    clientIpHash: 'c0ffee',
    reservedNanoUsd: null,
    ...more,
  };
}

export function end(call: Call, receipt: Receipt, more: Fields = {}): Fields {
  return {
    ...call,
    ...who,
    operation: 'openai.chat',
    model: 'gpt-4o',
    isStream: true,
    final: true,
    beginSeq: receipt.seq,
    beginStream: receipt.stream,
    receipt: receipt.text,
    endedAt: new Date(Date.parse(call.startedAt) + 250).toISOString(),
    outcome: 'ok',
    status: 200,
    endReason: 'complete',
    upstreamRequestId: 'req_1',
    firstByteMs: 12.5,
    totalMs: 250.25,
    requestBytes: 1000,
    responseBytes: 2000,
    usage: {
      inputTokens: 10,
      cachedInputTokens: 4,
      cacheWriteInputTokens: null,
      outputTokens: 20,
      reasoningTokens: null,
    },
    usageSource: 'provider',
    providerUsage: { prompt_tokens: 10, completion_tokens: 20 },
    costNanoUsd: '125000',
    priceVersion: 'test',
    ...more,
  };
}

/** One call from begin to end. */
export async function relay(journal: Journal, call: Call = newCall(), more: Fields = {}): Promise<Receipt> {
  const receipt = await journal.append('use.begin', begin(call));
  return journal.append('use.end', end(call, receipt, more));
}

/** All lines of a folder, in the order of their files. */
export async function linesOf(dir: string): Promise<string[]> {
  const names = (await readdir(dir)).filter((name) => name.endsWith('.jsonl')).toSorted();
  const texts = await Promise.all(names.map((name) => readFile(join(dir, name), 'utf8')));
  return texts.flatMap((text) => text.split('\n').slice(0, -1));
}

export async function segmentsOf(dir: string): Promise<string[]> {
  return (await readdir(dir))
    .filter((name) => name.endsWith('.jsonl'))
    .toSorted()
    .map((name) => join(dir, name));
}

/** The real disk, with something said before an operation. */
export function watched(before: { write?: () => void | Promise<void>; create?: () => void }): FileSeam {
  return {
    async create(path, sync) {
      before.create?.();
      const file = await diskFiles.create(path, sync);
      const seen: JournalFile = {
        async write(bytes, offset, length, position) {
          await before.write?.();
          return file.write(bytes, offset, length, position);
        },
        datasync: () => file.datasync(),
        close: () => file.close(),
      };
      return seen;
    },
    async put(path, text) {
      before.create?.();
      await diskFiles.put(path, text);
    },
  };
}
