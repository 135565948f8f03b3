import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { createBatch } from '../../src/journal/batch.ts';
import { canonicalize, type JsonValue } from '../../src/journal/canonical.ts';
import { createChain, genesisHash, hashOfLine, parseRecord } from '../../src/journal/chain.ts';
import { draft } from '../../src/journal/draft.ts';

const at = '2026-11-22T13:00:00.000Z';

/** The rule of JOURNAL.md written down anew: SHA-256(0x02 ‖ previous hash ‖ canonical JSON without `hash`). */
function expectedHash(line: string, previous: string): string {
  const { hash: _, ...rest } = JSON.parse(line) as Record<string, JsonValue>;
  return createHash('sha256')
    .update(Buffer.of(2))
    .update(Buffer.from(previous, 'hex'))
    .update(canonicalize(rest))
    .digest('hex');
}

function lines(fields: readonly Record<string, JsonValue>[], event = 'use.begin'): string[] {
  const chain = createChain('node_a:boot_1');
  const batch = createBatch();
  for (const one of fields) chain.link(draft(event, one, at), batch);
  return batch.bytes().toString('utf8').split('\n').slice(0, -1);
}

t.test('the first record of a chain, to the byte', async (t) => {
  const [line] = lines([{ callId: 'call_1', model: 'ü"\n', workspaceId: 'ws_1', zero: -0 }]);
  const hash = expectedHash(line as string, genesisHash);
  t.equal(
    line,
    String.raw`{"at":"2026-11-22T13:00:00.000Z","callId":"call_1","event":"use.begin","hash":"${hash}","model":"ü\"\n","seq":0,"stream":"node_a:boot_1","v":1,"workspaceId":"ws_1","zero":0}`,
  );
});

const names = fc
  .oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom('hash2', 'a', 'zz', 'sequel', 'streams', 'w', 'eventual'),
  )
  .filter((name) => !['v', 'stream', 'seq', 'at', 'event', 'hash'].includes(name));
const records = fc.dictionary(names, fc.jsonValue() as fc.Arbitrary<JsonValue>, {
  maxKeys: 8,
  noNullPrototype: true,
});

t.test('every line is canonical, holds its hash by the rule, and carries the chain on', async () => {
  fc.assert(
    fc.property(fc.array(records, { minLength: 1, maxLength: 6 }), (fields) => {
      let previous = genesisHash;
      return lines(fields).every((line, seq) => {
        const record = parseRecord(Buffer.from(line));
        const hash = expectedHash(line, previous);
        const isRight =
          record?.seq === seq &&
          record.hash === hash &&
          line === canonicalize(record) &&
          hashOfLine(Buffer.from(line), hash, previous) === hash;
        previous = hash;
        return isRight;
      });
    }),
    { numRuns: 500 },
  );
});

t.test(
  'what a record repeats of the one before it stands there as if it came for the first time',
  async () => {
    const value = fc.constantFrom<JsonValue>(
      '1',
      1,
      0,
      -0,
      '',
      null,
      'null',
      true,
      'true',
      'ü"',
      1e21,
      [],
      [1],
      {
        b: 1,
        a: { d: 2, c: 'x' },
      },
    );
    const some = fc.record(
      { callId: value, model: value, status: value, zone: value },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(fc.array(some, { minLength: 2, maxLength: 80 }), (fields) =>
        lines(fields).every((line, seq) => {
          const {
            at: _at,
            event: _event,
            hash: _hash,
            seq: _seq,
            stream: _stream,
            v: _v,
            ...rest
          } = JSON.parse(line);
          return canonicalize(rest) === canonicalize(fields[seq] as JsonValue);
        }),
      ),
      { numRuns: 200 },
    );
  },
);

t.test('no byte of a line can change without the hash noticing', async (t) => {
  const [line] = lines([{ callId: 'call_1', note: '{"hash":"x"}', usage: { hash: 'a'.repeat(64) } }]);
  const original = Buffer.from(line as string);
  for (let i = 0; i < original.length; i += 1) {
    const changed = Buffer.from(original);
    changed[i] = (changed[i] as number) ^ 1;
    const record = parseRecord(changed);
    if (record !== null && hashOfLine(changed, record.hash, genesisHash) === record.hash) t.fail(`byte ${i}`);
  }
});

t.test('the shape kept for an event follows when the fields change', async (t) => {
  const [first, second, third] = lines([{ b: 1, c: 2 }, { c: 3, b: 4 }, { a: 5 }]);
  t.match(first, /"b":1,"c":2/);
  t.match(second, /"b":4,"c":3/);
  t.match(third, /^\{"a":5,"at":/);
});

t.test('fields may not stand in for what the journal writes itself', async (t) => {
  for (const name of ['v', 'stream', 'seq', 'at', 'event', 'hash']) {
    t.throws(() => draft('key.create', { [name]: 'x' }, at), TypeError);
  }
});
