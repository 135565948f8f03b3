import t from 'tap';
import { openRecord, sealRecord } from '../../src/vault/record.ts';
import { primitives, runSelfTest, type Primitives } from '../../src/vault/self-test.ts';

t.test('the self-test passes on this machine', async (t) => {
  t.doesNotThrow(() => runSelfTest());
});

t.test('a primitive that answers wrong, or not at all, refuses the start by name', async (t) => {
  const flip = (bytes: Uint8Array): Uint8Array => bytes.map((byte, index) => (index === 3 ? byte ^ 1 : byte));
  const broken: readonly (readonly [RegExp, Partial<Primitives>])[] = [
    [/HKDF/, { hkdf: (...args) => flip(primitives.hkdf(...args)) }],
    [/HMAC/, { hmac: (...args) => flip(primitives.hmac(...args)) }],
    [/AES-256-GCM/, { gcm: (...args) => flip(primitives.gcm(...args)) }],
    [
      /AES-256-GCM/,
      {
        gcm: () => {
          throw new Error('unsupported');
        },
      },
    ],
    [
      /HPKE/,
      {
        hpke: (info) => {
          const right = primitives.hpke(info);
          return { ...right, open: (...args) => right.open(...args) ?? Buffer.alloc(28) };
        },
      },
    ],
    [/HPKE/, { hpke: (info) => primitives.hpke(flip(info)) }],
    [/opens again/, { open: (...args) => Buffer.from(flip(openRecord(...args))) }],
    // Neither commitment nor place checked: everything opens.
    [
      /commitment/,
      {
        seal: (_key, _kind, _context, text) => Buffer.from(text),
        open: (_key, _kind, _context, blob) => blob,
      },
    ],
    [
      /another place/,
      {
        seal: (key, kind, _context, text) => sealRecord(key, kind, Buffer.alloc(0), text),
        open: (key, kind, _context, blob) => openRecord(key, kind, Buffer.alloc(0), blob),
      },
    ],
  ];
  for (const [message, change] of broken) {
    t.throws(() => runSelfTest({ ...primitives, ...change }), { code: 'CONFIG_INVALID', message });
  }
});
