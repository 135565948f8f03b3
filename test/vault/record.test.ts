import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import {
  canaryContext,
  dataKeyContext,
  encodeContext,
  payloadContext,
  serviceContext,
  workspaceKeyContext,
} from '../../src/vault/context.ts';
import { kinds, openRecord, sealRecord, VaultError, type Kind } from '../../src/vault/record.ts';
import { blockWithOneTag } from './gcm-collision.ts';
import { composeContext, composeRecord, deriveKeys } from './independent-record.ts';

const key = randomBytes(32);
const context = encodeContext(['dk', 'dep_1', 'ws_1', 'key_1', '1']);
const secret = Buffer.from('sk-test-The-quick-brown-fox-0123456789');

function codeOf(open: () => unknown): string {
  try {
    open();
  } catch (error) {
    return error instanceof VaultError ? error.code : String(error);
  }
  return 'opened';
}

interface Vector {
  readonly kind: Kind;
  readonly key: string;
  readonly contextFields: readonly string[];
  readonly plaintext: string;
  readonly salt: string;
  readonly nonce: string;
  readonly record: string;
}

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const folder = new URL('vectors/', import.meta.url);
const vectors = readdirSync(folder)
  .filter((name) => /^\d/.test(name))
  .toSorted()
  .map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Vector);

t.test('the known answers of every kind hold, to the byte, in both directions', async (t) => {
  t.strictSame(
    vectors.map(({ kind }) => kind),
    Object.values(kinds),
  );
  for (const vector of vectors) {
    const { kind, contextFields } = vector;
    const [key, plaintext, salt, nonce] = [vector.key, vector.plaintext, vector.salt, vector.nonce].map(
      hex,
    ) as [Buffer, Buffer, Buffer, Buffer];
    const context = encodeContext(contextFields);
    const entropy = (bytes: number): Buffer => (bytes === 32 ? salt : nonce);
    t.equal(
      sealRecord(key, kind, context, plaintext, entropy).toString('hex'),
      vector.record,
      `kind ${kind} seals`,
    );
    t.ok(openRecord(key, kind, context, hex(vector.record)).equals(plaintext), `kind ${kind} opens`);
    const independent = await composeRecord({ key, kind, contextFields, plaintext, salt, nonce });
    t.equal(independent.toString('hex'), vector.record, `kind ${kind} composed independently`);
  }
});

t.test('the contexts are the fields of the design, in its order', async (t) => {
  const [ws, dk, payload, canary, service] = vectors.map(({ contextFields }) => contextFields);
  const place = { deploymentId: ws?.[1] ?? '', workspaceId: ws?.[2] ?? '', keyId: dk?.[3] ?? '' };
  const same = (built: Buffer, fields: readonly string[] | undefined): unknown =>
    t.ok(built.equals(composeContext(fields ?? [])));
  same(workspaceKeyContext({ ...place, version: 1, rootKeyId: ws?.[4] ?? '' }), ws);
  same(dataKeyContext({ ...place, version: 12 }), dk);
  same(payloadContext({ ...place, version: 12, provider: 'openai', protection: 'standard' }), payload);
  same(canaryContext(place.deploymentId), canary);
  same(serviceContext(place.deploymentId, '', 'intake', '2026-01-02'), service);
  t.throws(() => dataKeyContext({ ...place, version: 0 }), RangeError);
  t.throws(() => dataKeyContext({ ...place, version: 1.5 }), RangeError);
});

t.test('no two lists of fields make the same context', async (t) => {
  const fields = fc.array(fc.string({ unit: 'grapheme', maxLength: 6 }), { maxLength: 5 });
  fc.assert(
    fc.property(fields, fields, (a, b) => {
      const isSame = encodeContext(a).equals(encodeContext(b));
      return isSame === (JSON.stringify(a) === JSON.stringify(b));
    }),
  );
  t.notOk(encodeContext(['ab', 'c']).equals(encodeContext(['a', 'bc'])));
});

t.test('confidential: a record shows nothing of its plaintext, and no two are alike', async (t) => {
  const [one, two] = [sealRecord(key, 3, context, secret), sealRecord(key, 3, context, secret)];
  t.notOk(one.includes(secret));
  t.notOk(one.includes(secret.subarray(0, 8)));
  t.notOk(one.subarray(8).equals(two.subarray(8)));
  t.equal(one.length, 100 + secret.length);
});

t.test('what was sealed opens, for any key, place and plaintext', async () => {
  const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.constantFrom(...Object.values(kinds)),
      bytes(200),
      bytes(2000),
      (key, kind, context, plaintext) =>
        openRecord(key, kind, context, sealRecord(key, kind, context, plaintext)).equals(plaintext),
    ),
  );
});

t.test('tampered: a change of any bit of any byte is refused', async (t) => {
  const blob = sealRecord(key, 3, context, secret);
  const seen = new Set<string>();
  for (let at = 0; at < blob.length; at += 1) {
    for (const bit of [0x01, 0x10, 0x80]) {
      const changed = Buffer.from(blob);
      changed[at] = (changed[at] ?? 0) ^ bit;
      const code = codeOf(() => openRecord(key, 3, context, changed));
      const expected = at < 8 ? 'VAULT_FORMAT' : at < 72 ? 'VAULT_WRONG_KEY' : 'VAULT_TAMPERED';
      if (code !== expected) t.fail(`byte ${at}: ${code}, expected ${expected}`);
      seen.add(code);
    }
  }
  t.strictSame([...seen], ['VAULT_FORMAT', 'VAULT_WRONG_KEY', 'VAULT_TAMPERED']);
});

t.test('truncated or prolonged at any place, it is refused', async (t) => {
  const blob = sealRecord(key, 3, context, secret);
  for (let length = 0; length < blob.length; length += 1) {
    const code = codeOf(() => openRecord(key, 3, context, blob.subarray(0, length)));
    if (code !== (length < 100 ? 'VAULT_FORMAT' : 'VAULT_TAMPERED')) t.fail(`${length} bytes: ${code}`);
  }
  for (let cut = 1; cut < blob.length; cut += 1) {
    if (codeOf(() => openRecord(key, 3, context, blob.subarray(cut))) === 'opened')
      t.fail(`opened without ${cut}`);
  }
  t.equal(
    codeOf(() => openRecord(key, 3, context, Buffer.concat([blob, Buffer.alloc(1)]))),
    'VAULT_TAMPERED',
  );
});

t.test('moved: no other workspace, key, version, provider, protection or deployment opens it', async (t) => {
  const place = {
    deploymentId: 'dep_1',
    workspaceId: 'ws_1',
    keyId: 'key_1',
    version: 1,
    provider: 'openai',
    protection: 'standard',
  };
  const blob = sealRecord(key, 3, payloadContext(place), secret);
  t.ok(openRecord(key, 3, payloadContext(place), blob).equals(secret));
  const elsewhere = [
    { deploymentId: 'dep_2' },
    { workspaceId: 'ws_2' },
    { keyId: 'key_2' },
    { version: 2 },
    { provider: 'groq' },
    { protection: 'sealed' },
  ];
  for (const change of elsewhere) {
    const moved = payloadContext({ ...place, ...change });
    t.equal(
      codeOf(() => openRecord(key, 3, moved, blob)),
      'VAULT_TAMPERED',
      JSON.stringify(change),
    );
  }
});

t.test('wrong key and wrong kind are refused', async (t) => {
  const blob = sealRecord(key, 3, context, secret);
  t.equal(
    codeOf(() => openRecord(randomBytes(32), 3, context, blob)),
    'VAULT_WRONG_KEY',
  );
  for (const kind of [1, 2, 4, 5] as const) {
    t.equal(
      codeOf(() => openRecord(key, kind, context, blob)),
      'VAULT_FORMAT',
    );
    // The kind is in the derivation too: writing another into the header gives another key.
    const relabelled = Buffer.from(blob);
    relabelled[5] = kind;
    t.equal(
      codeOf(() => openRecord(key, kind, context, relabelled)),
      'VAULT_WRONG_KEY',
    );
  }
  for (const bytes of [0, 16, 31, 33, 64]) {
    t.equal(
      codeOf(() => openRecord(randomBytes(bytes), 3, context, blob)),
      'VAULT_FORMAT',
    );
    t.equal(
      codeOf(() => sealRecord(randomBytes(bytes), 3, context, secret)),
      'VAULT_FORMAT',
    );
  }
});

t.test('bounds: 100 bytes to 64 KiB', async (t) => {
  t.equal(openRecord(key, 3, context, sealRecord(key, 3, context, Buffer.alloc(0))).length, 0);
  const largest = Buffer.alloc(65_436, 7);
  t.ok(openRecord(key, 3, context, sealRecord(key, 3, context, largest)).equals(largest));
  t.equal(
    codeOf(() => sealRecord(key, 3, context, Buffer.alloc(65_437))),
    'VAULT_FORMAT',
  );
  t.equal(
    codeOf(() => openRecord(key, 3, context, Buffer.alloc(65_537))),
    'VAULT_FORMAT',
  );
});

t.test('committing: a ciphertext made to open under two keys opens under one only', async (t) => {
  // The attack on bare GCM, carried out: one block chosen so that both keys give the same tag.
  const [keyA, keyB] = [randomBytes(32), randomBytes(32)];
  const [salt, nonce] = [randomBytes(32), randomBytes(12)];
  const start = hex('5350523101030000');
  const [a, b] = [deriveKeys(keyA, salt, start), deriveKeys(keyB, salt, start)];
  const head = Buffer.concat([start, salt, a.commitment, nonce]);
  const aad = Buffer.concat([head, context]);
  const { block, tag } = blockWithOneTag({ keys: [a.aesKey, b.aesKey], nonce, aad });

  for (const { aesKey } of [a, b]) {
    const bare = createDecipheriv('aes-256-gcm', aesKey, nonce, { authTagLength: 16 })
      .setAAD(aad)
      .setAuthTag(tag);
    bare.update(block);
    t.doesNotThrow(() => bare.final(), 'bare GCM opens it');
  }
  const blob = Buffer.concat([head, block, tag]);
  t.equal(openRecord(keyA, 3, context, blob).length, 16);
  t.equal(
    codeOf(() => openRecord(keyB, 3, context, blob)),
    'VAULT_WRONG_KEY',
  );

  // With neither key's commitment, neither opens it.
  const free = Buffer.from(blob);
  free.fill(0, 40, 72);
  for (const key of [keyA, keyB])
    t.equal(
      codeOf(() => openRecord(key, 3, context, free)),
      'VAULT_WRONG_KEY',
    );
});

t.test('no error carries plaintext or key', async (t) => {
  const blob = sealRecord(key, 3, context, secret);
  blob[blob.length - 1] = (blob[blob.length - 1] ?? 0) ^ 1;
  try {
    openRecord(key, 3, context, blob);
    t.fail('opened');
  } catch (error) {
    const shown = [
      String(error),
      JSON.stringify(error),
      (error as Error).stack,
      String((error as Error).cause),
    ].join();
    for (const form of [secret, key]) {
      t.notOk(shown.includes(form.toString('latin1')));
      t.notOk(shown.includes(form.toString('hex')));
    }
  }
});

t.test('opened plaintext has memory of its own, so that a wipe reaches all of it', async (t) => {
  for (const bytes of [1, 32, 64, 65, 256, 4096]) {
    const plaintext = openRecord(key, 3, context, sealRecord(key, 3, context, Buffer.alloc(bytes, 9)));
    t.equal(plaintext.buffer.byteLength, bytes);
  }
});

t.test('a fresh salt each time: no two records share an AES key', async (t) => {
  const salts = new Set(
    Array.from({ length: 200 }, () => sealRecord(key, 3, context, secret).toString('hex', 8, 40)),
  );
  t.equal(salts.size, 200);
  // A record is plain AES-GCM of the derived key and nothing else.
  const blob = sealRecord(key, 3, context, secret);
  const { aesKey } = deriveKeys(key, blob.subarray(8, 40), blob.subarray(0, 8));
  const cipher = createCipheriv('aes-256-gcm', aesKey, blob.subarray(72, 84), { authTagLength: 16 });
  cipher.setAAD(Buffer.concat([blob.subarray(0, 84), context]));
  t.ok(cipher.update(secret).equals(blob.subarray(84, -16)));
});
