import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { newId } from '../../src/ids.ts';
import { decodeContext, encodeContext } from '../../src/vault/context.ts';
import { kinds, openRecord, recordOverhead, sealRecord, type VaultError } from '../../src/vault/record.ts';
import { type SealedKey, type Vault } from '../../src/vault/vault.ts';
import { repeatedSeals } from './distinct-seals.ts';
import { newSecret, testVault } from './test-vault.ts';

/** The list of bad input and abuse, as far as the vault alone answers it; the units have tests of their own beside this. */
const place = { origin: 'https://api.openai.com', header: 'authorization' };
const into = Buffer.alloc(9000);

async function codeOf(vault: Vault, row: SealedKey, ikm: Uint8Array | null = null): Promise<string> {
  into.fill(0);
  try {
    (await vault.prepare(row, ikm)).openInto(into, 0, place);
    return 'opened';
  } catch (error) {
    if (into.some((byte) => byte !== 0)) return 'refused, and left bytes behind';
    return (error as { code?: string }).code ?? String(error);
  }
}

t.test('rows that somebody edited', async (t) => {
  const { vault, newWorkspace, seal, restart, database } = await testVault(t);
  const [workspaceId, elsewhere] = [await newWorkspace(), await newWorkspace()];
  const ikm = randomBytes(32);
  const to = { id: newId('seal'), publicKey: vault.sealPublicKeyOf(ikm) };
  const rows = [await seal({ workspaceId }), await seal({ workspaceId, seal: to })] as const;
  const others = [
    await seal({ workspaceId }),
    await seal({ workspaceId: elsewhere }),
    await seal({ workspaceId, seal: to }),
    await seal({ workspaceId: elsewhere, seal: to }),
  ];
  const sealOf = (row: SealedKey): Uint8Array | null => (row.protection === 'sealed' ? ikm : null);

  t.test('any byte of any wrap or payload flipped', async (t) => {
    for (const row of rows) {
      for (const part of ['wrap', 'payload'] as const) {
        for (let at = 0; at < row[part].length; at += 1) {
          const changed = Buffer.from(row[part]);
          changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
          const code = await codeOf(vault, { ...row, [part]: changed }, sealOf(row));
          if (code !== 'KEY_INVALID') t.fail(`${row.protection}, ${part}, byte ${at}: ${code}`);
        }
      }
      t.equal(await codeOf(vault, row, sealOf(row)), 'opened');
    }
  });

  t.test('any byte of a workspace key’s record flipped', async (t) => {
    const [row] = rows;
    const stored = await database.store.asWorkspace(workspaceId, (tx) =>
      tx.selectFrom('workspace_keys').selectAll().executeTakeFirstOrThrow(),
    );
    const fresh = await restart();
    const write = async (record: Buffer): Promise<void> => {
      await database.store.asSystem((tx) =>
        tx.updateTable('workspace_keys').set({ record }).where('workspace_id', '=', workspaceId).execute(),
      );
      fresh.forget(workspaceId);
    };
    for (let at = 0; at < stored.record.length; at += 1) {
      const record = Buffer.from(stored.record);
      record[at] = (record[at] ?? 0) ^ 0x10;
      await write(record);
      const code = await codeOf(fresh, row);
      if (code !== 'KEY_INVALID') t.fail(`byte ${at}: ${code}`);
    }
    await write(stored.record);
    t.equal(await codeOf(fresh, row), 'opened');
  });

  t.test('two rows’ blobs swapped, across keys and across workspaces', async (t) => {
    for (const row of rows) {
      for (const other of others) {
        for (const swap of [
          { wrap: other.wrap },
          { payload: other.payload },
          { wrap: other.wrap, payload: other.payload },
          { workspaceId: other.workspaceId, wrap: other.wrap, payload: other.payload },
          { keyId: other.keyId, payload: other.payload },
        ])
          t.equal(
            await codeOf(vault, { ...row, ...swap }, sealOf(row)),
            'KEY_INVALID',
            Object.keys(swap).join(),
          );
      }
    }
  });

  t.test('provider, version, protection or seal edited', async (t) => {
    const plain = { protection: 'standard', sealId: null, sealPublicKey: null } as const;
    const thief = { sealId: to.id, sealPublicKey: to.publicKey } as const;
    const [standard, sealed] = rows;
    for (const [row, change, code] of [
      [standard, { provider: 'groq' }, 'KEY_INVALID'],
      [standard, { provider: 'custom' }, 'KEY_INVALID'],
      [standard, { version: 2 }, 'KEY_INVALID'],
      [standard, { protection: 'sealed', ...thief }, 'KEY_INVALID'],
      [sealed, { provider: 'groq' }, 'KEY_INVALID'],
      [sealed, { version: 2 }, 'KEY_INVALID'],
      [sealed, plain, 'KEY_INVALID'],
      [sealed, { sealId: newId('seal') }, 'KEY_INVALID'],
      [sealed, { sealPublicKey: vault.sealPublicKeyOf(randomBytes(32)) }, 'SEAL_WRONG'],
    ] as const)
      t.equal(await codeOf(vault, { ...row, ...change }, ikm), code, JSON.stringify(Object.keys(change)));
  });

  t.test('blobs truncated, extended, empty, of 64 KiB and a byte', async (t) => {
    for (const row of rows) {
      for (const part of ['wrap', 'payload'] as const) {
        const whole = row[part];
        for (const blob of [
          Buffer.alloc(0),
          whole.subarray(0, 1),
          whole.subarray(0, recordOverhead - 1),
          whole.subarray(0, recordOverhead),
          whole.subarray(0, -1),
          whole.subarray(1),
          Buffer.concat([whole, Buffer.alloc(1)]),
          Buffer.concat([whole, whole]),
          Buffer.concat([whole, Buffer.alloc(65_537 - whole.length)]),
        ])
          t.equal(
            await codeOf(vault, { ...row, [part]: blob }, sealOf(row)),
            'KEY_INVALID',
            `${row.protection}, ${part} of ${blob.length}`,
          );
      }
    }
  });

  t.test('an unknown suite, kind or reserved byte', async (t) => {
    for (const row of rows) {
      for (const part of ['wrap', 'payload'] as const) {
        for (const [at, values] of [
          [4, [0, 2, 255]],
          [5, [0, 1, 4, 5, 6, 255]],
          [6, [1, 255]],
          [7, [1, 255]],
        ] as const) {
          for (const value of values) {
            const changed = Buffer.from(row[part]);
            changed[at] = value;
            t.equal(await codeOf(vault, { ...row, [part]: changed }, sealOf(row)), 'KEY_INVALID');
          }
        }
      }
    }
  });
});

t.test(
  'key values with CR, LF, NUL, space, non-ASCII, empty, of 10 KB: refused and never echoed',
  async (t) => {
    const { vault, newWorkspace, seal } = await testVault(t);
    const workspaceId = await newWorkspace();
    const to = { id: newId('seal'), publicKey: vault.sealPublicKeyOf(randomBytes(32)) };
    const good = newSecret().toString();
    for (const text of ['\r', '\n', '\0', ' ', '\t', '\u007f', 'ü', '😀'].map((odd) => good + odd + good)) {
      for (const bytes of [Buffer.from(text, 'utf8'), Buffer.from(text, 'latin1')]) {
        for (const target of [null, to]) {
          const error = await seal({ workspaceId, secret: bytes, seal: target }).catch(
            (error: unknown) => error,
          );
          t.match(error, { code: 'KEY_FORMAT' });
          t.notOk(String(error).includes(good));
        }
      }
    }
    for (const secret of [Buffer.alloc(0), Buffer.alloc(10_240, 'x')])
      await t.rejects(seal({ workspaceId, secret, seal: to }), { code: 'KEY_FORMAT' });
  },
);

t.test('a database dump of one deployment opens nothing under another’s ring', async (t) => {
  const [mine, theirs] = [await testVault(t), await testVault(t)];
  const workspaceId = await mine.newWorkspace();
  const row = await mine.seal({ workspaceId });
  const stored = await mine.database.store.asWorkspace(workspaceId, (tx) =>
    tx.selectFrom('workspace_keys').selectAll().executeTakeFirstOrThrow(),
  );
  const dump = { workspaceId, version: 1, rootKeyId: stored.root_key_id, record: stored.record };
  theirs.vault.prime([dump]);
  t.equal(await codeOf(theirs.vault, row), 'VAULT_SEALED', 'its root key is not in the ring');
  theirs.vault.forget(workspaceId);
  theirs.vault.prime([{ ...dump, rootKeyId: theirs.ring.active().id }]);
  t.equal(await codeOf(theirs.vault, row), 'KEY_INVALID', 'nor does the name of one that is help');
  // With the right root key, but as another deployment: it is bound to its own.
  const moved = await theirs.restart(mine.ring).catch((error: unknown) => error);
  t.match(moved, { code: 'CONFIG_INVALID' });
});

t.test('100 000 seals with all salts and nonces distinct (a million: distinct-seals.ts)', async (t) => {
  t.strictSame(repeatedSeals(100_000), { salts: 0, nonces: 0 });
});

const fields = fc.array(fc.string({ unit: 'binary', maxLength: 12 }), { maxLength: 8 });

t.test('a context is read back as the fields it was made of, so no two lists make one', async () => {
  fc.assert(
    fc.property(
      fields,
      (list) => JSON.stringify(decodeContext(encodeContext(list))) === JSON.stringify(list),
    ),
  );
});

t.test('any bytes at all in a record’s place are refused with one of three codes', async () => {
  const key = randomBytes(32);
  const whole = sealRecord(key, kinds.payload, Buffer.from('place'), Buffer.from('secret'));
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc
      .tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 8 }))
      .map(([at, patch]) => Buffer.concat([whole.subarray(0, at), patch, whole.subarray(at + patch.length)])),
  );
  fc.assert(
    fc.property(bytes, (blob) => {
      if (whole.equals(blob)) return true;
      try {
        openRecord(key, kinds.payload, Buffer.from('place'), Buffer.from(blob));
        return false;
      } catch (error) {
        return ['VAULT_FORMAT', 'VAULT_WRONG_KEY', 'VAULT_TAMPERED'].includes((error as VaultError).code);
      }
    }),
    { numRuns: 500 },
  );
});
