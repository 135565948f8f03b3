import { randomBytes, randomFillSync } from 'node:crypto';
import type { SealDerivation } from '../db/schema.ts';
import { sealSecretText } from '../seal-text.ts';
import { secretBuffer, wipe } from '../secret.ts';
import { leastPassphraseBytes, newDerivation, secretOfPassphrase } from '../vault/seal-derivation.ts';
import { sealPublicKeyOf } from '../vault/seal-pair.ts';
import type { Command, Context } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { AnsweredError, exits, usageError } from './failure.ts';
import { idOf } from './named-id.ts';
import { given } from './people.ts';
import { checkSeal, readSeal, type Seal, sealBytes } from './seal-secret.ts';
import { readSecret, readSecrets } from './secret-input.ts';
import { textTable } from './text-table.ts';

interface SealView extends Seal {
  readonly derivation: SealDerivation | null;
  readonly keys: number;
  readonly createdAt: string;
}

const create: Command = {
  words: 'seals create',
  doc: 'Make a seal: half of the lock of keys that are sealed to it. Its secret is shown this once.',
  options: {
    name: { value: 'NAME', doc: 'what to call it', isRequired: true },
    passphrase: {
      value: null,
      doc: 'derive it from a passphrase, which is asked for or read from standard input',
    },
  },
  async run(context) {
    const derivation = context.has('passphrase') ? newDerivation(randomBytes(16)) : null;
    const ikm =
      derivation === null
        ? randomFillSync(secretBuffer(32))
        : await derive(context, derivation, 'New passphrase');
    try {
      const api = await context.api();
      const seal = await api.call<SealView>('POST', '/api/seals', {
        name: context.text('name'),
        publicKey: sealPublicKeyOf(ikm).toString('base64url'),
        ...given('derivation', derivation === null ? null : { ...derivation }),
      });
      checkSeal(ikm, seal);
      const secret = sealSecretText(ikm);
      const keep =
        derivation === null
          ? 'Shown this once: without it no key sealed to it ever opens again. Keep it where you keep passwords.'
          : 'The passphrase gives it again: bin/sallyport seals secret ID. Without both no key sealed to it ever opens.';
      context.print(
        { id: seal.id, name: seal.name, publicKey: seal.publicKey, seal: secret },
        `${secret}\n\n${keep}\nIts id is ${seal.id}.\n`,
      );
    } finally {
      wipe(ikm);
    }
    return exits.ok;
  },
};

const secret: Command = {
  words: 'seals secret',
  doc: 'Derive the secret of a seal from its passphrase again.',
  argument: 'ID',
  options: {},
  async run(context) {
    const api = await context.api();
    const seal = await api.call<SealView>('GET', `/api/seals/${idOf('seal', context.argument)}`);
    if (seal.derivation === null) {
      throw new AnsweredError(
        'CONFLICT',
        'This seal was made at random: its secret was shown once, and nothing gives it again.',
        'If it is lost, store the keys anew under another seal.',
      );
    }
    const ikm = await derive(context, seal.derivation, 'Passphrase');
    try {
      checkSeal(ikm, seal);
      const text = sealSecretText(ikm);
      context.print({ id: seal.id, seal: text }, `${text}\n`);
    } finally {
      wipe(ikm);
    }
    return exits.ok;
  },
};

const list: Command = {
  words: 'seals list',
  doc: 'List the seals; nobody here has their secrets.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<SealView>('/api/seals');
    const rows = data.map((seal) => [
      seal.id,
      seal.name,
      seal.keys,
      seal.derivation === null ? 'random' : 'passphrase',
      seal.createdAt,
    ]);
    const none = 'No seals. Make one: bin/sallyport seals create --name laptop\n';
    context.print(
      { data },
      rows.length === 0 ? none : textTable(['ID', 'NAME', 'KEYS', 'SECRET', 'MADE'], rows),
    );
    return exits.ok;
  },
};

const rm: Command = {
  words: 'seals rm',
  doc: 'Delete a seal to which no key is sealed.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const id = idOf('seal', context.argument);
    const api = await context.api();
    await confirm(context, async () => {
      const { name, keys } = await api.call<SealView>('GET', `/api/seals/${id}`);
      return keys > 0 ? null : `This deletes the seal “${name}” for good: no key can be sealed to it again.`;
    });
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/seals/${id}`);
    context.print(gone, `Deleted. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

const reseal: Command = {
  words: 'seals reseal',
  doc: 'Seal keys to another seal; asks for both secrets, or reads them as two lines: the old one, the new one.',
  argument: 'NEW',
  options: {
    keys: { value: 'LIST', doc: 'only these key ids, separated by commas; else all of the old seal' },
  },
  async run(context) {
    const to = idOf('seal', context.argument);
    const [old, next] = await readBoth(context, to);
    try {
      const headers = {
        'x-sallyport-seal': sealSecretText(old),
        'x-sallyport-new-seal': sealSecretText(next),
      };
      const keyIds =
        context
          .text('keys')
          ?.split(',')
          .map((id) => id.trim())
          .filter(Boolean) ?? null;
      if (keyIds?.length === 0)
        throw usageError('--keys names no key.', 'bin/sallyport keys list shows the ids (key_…).');
      const api = await context.api();
      const done: string[] = [];
      let remaining = 1;
      while (remaining > 0) {
        const part = await api.call<{ keyIds: readonly string[]; remaining: number }>(
          'POST',
          `/api/seals/${to}/reseal`,
          given('keyIds', keyIds),
          headers,
        );
        done.push(...part.keyIds);
        remaining = part.keyIds.length === 0 ? 0 : part.remaining;
      }
      context.print({ sealId: to, keyIds: done }, `Sealed to ${to}: ${done.length} keys.\n`);
    } finally {
      wipe(old, next);
    }
    return exits.ok;
  },
};

export const sealCommands: readonly Command[] = [create, secret, list, rm, reseal];

/** @throws {SallyportError} REQUEST_INVALID: too short, or mistyped. */
async function derive(context: Context, derivation: SealDerivation, prompt: string): Promise<Buffer> {
  const isNew = prompt.startsWith('New');
  const passphrase = await readSecret(context.terminal, `${prompt} (it is not shown): `, 'passphrase');
  let again: Buffer | null = null;
  try {
    if (passphrase.length < leastPassphraseBytes) {
      throw usageError(
        `A passphrase has at least ${leastPassphraseBytes} characters.`,
        'Take six words or more at random; or leave --passphrase out, which is stronger.',
      );
    }
    if (isNew && context.terminal.input.isTTY === true) {
      again = await readSecret(context.terminal, 'The same again: ', 'passphrase');
      if (!again.equals(passphrase)) throw usageError('The two are not the same.', 'Run it again.');
    }
    return await secretOfPassphrase(passphrase, derivation);
  } finally {
    wipe(passphrase, again);
  }
}

/** With SALLYPORT_SEAL set, that is the old one. */
async function readBoth(context: Context, to: string): Promise<readonly [Buffer, Buffer]> {
  const askNew = `The secret of ${to} (it is not shown): `;
  if (context.config().seal !== null) {
    const next = await readSecret(context.terminal, askNew, 'secret of a seal');
    return [await readSeal(context, ''), sealBytes(next)];
  }
  const [old, next] = await readSecrets(
    context.terminal,
    ['The secret that the keys are sealed to now (it is not shown): ', askNew],
    'secret of a seal',
  );
  return [sealBytes(old as Buffer), sealBytes(next as Buffer)];
}
