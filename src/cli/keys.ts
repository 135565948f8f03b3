import { wipe } from '../secret.ts';
import type { Command, Context } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits, usageError } from './failure.ts';
import { intakeContent } from './key-content.ts';
import { idOf } from './named-id.ts';
import { wholeNumber } from './option-values.ts';
import { given, userId } from './people.ts';
import { placeInForce, placeOf, sealedContent, sealHeaders } from './sealed-key.ts';
import { readSecret } from './secret-input.ts';
import { textTable } from './text-table.ts';

interface Key {
  readonly id: string;
  readonly name: string;
  readonly provider: string;
  readonly auth: string;
  readonly origins: readonly string[];
  readonly sealId: string | null;
  readonly version: number;
  readonly source: string;
  readonly status: string;
  readonly last4: string | null;
  /** Of the workspace's values: the same for the same value, and null of what is sealed. */
  readonly fingerprint: string | null;
  /** Other keys with the same value, of those that the caller sees; a gateway from before has none. */
  readonly duplicates?: readonly string[];
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
}

const add: Command = {
  words: 'keys add',
  doc: 'Store a provider key; its value is asked for, or read from standard input.',
  options: {
    provider: { value: 'NAME', doc: 'openai, anthropic, google, groq, xai or custom', isRequired: true },
    name: { value: 'NAME', doc: 'what to call it; for custom the segment under /custom/', isRequired: true },
    user: { value: 'USER', doc: 'whose key it is (id, external id or name); else the operator’s' },
    origin: { value: 'URL', doc: 'the origin it may go to; custom needs one' },
    'base-path': { value: 'PATH', doc: 'where the OpenAI-like interface begins at that origin, such as /v1' },
    auth: { value: 'HOW', doc: 'bearer, header:NAME or none (no value is read)' },
    seal: { value: 'ID', doc: 'seal it to this seal here, before it leaves this program' },
    weight: { value: 'N', doc: '0 to 1000: its part of the calls among your keys of one provider' },
    'stream-usage': { value: null, doc: 'custom: the origin takes stream_options.include_usage' },
    expires: { value: 'TIME', doc: 'RFC 3339: 2027-12-31T23:59:59Z' },
    description: { value: 'TEXT', doc: 'what it is for' },
    force: { value: null, doc: 'store it though it has not the shape of this provider’s keys' },
  },
  async run(context) {
    const provider = context.text('provider') ?? '';
    const auth = context.text('auth');
    if (provider === 'custom' && context.text('origin') === null) {
      throw usageError(
        'A custom provider needs --origin URL.',
        'bin/sallyport keys add --provider custom --name ollama --origin http://127.0.0.1:11434 --auth none',
      );
    }
    const sealId = context.text('seal');
    if (auth === 'none' && sealId !== null)
      throw usageError('With --auth none there is no secret to seal.', 'Leave --seal out.');
    const api = await context.api();
    const origin = context.text('origin');
    // Before the key is asked for: nobody is to paste it twice because of another word.
    const place = await placeOf(api, provider, origin, auth);
    const secret =
      auth === 'none'
        ? null
        : await readSecret(context.terminal, `Paste the key for ${provider} (it is not shown): `);
    try {
      const user = context.text('user');
      const content =
        secret === null
          ? {}
          : sealId === null
            ? await intakeContent(api, provider, secret)
            : await sealedContent(context, api, place, sealId, secret);
      const key = await api.call<Key>('POST', '/api/api-keys', {
        name: context.text('name'),
        provider,
        ...given('userId', user === null ? null : await userId(api, user)),
        ...given('origins', origin === null ? null : [origin]),
        ...given('basePath', context.text('base-path')),
        ...given('auth', auth),
        ...given('weight', wholeNumber(context, 'weight')),
        ...given('streamUsage', context.has('stream-usage') ? true : null),
        ...given('expiresAt', context.text('expires')),
        ...given('description', context.text('description')),
        ...given('force', context.has('force') ? true : null),
        ...(sealId === null ? {} : { protection: 'sealed', sealId }),
        ...content,
      });
      const next = provider === 'custom' ? '' : `  Does it work? bin/sallyport keys test ${key.id}\n`;
      context.print(
        { id: key.id, name: key.name, provider: key.provider, duplicates: key.duplicates },
        `Stored ${key.id}\n${next}`,
      );
      warnOfDuplicates(context, key);
      return exits.ok;
    } finally {
      wipe(secret);
    }
  },
};

const replace: Command = {
  words: 'keys replace',
  doc: 'Give a key a new value, which is asked for, or read from standard input; a sealed key stays sealed.',
  argument: 'ID',
  options: { force: { value: null, doc: 'though it has not the shape of this provider’s keys' } },
  async run(context) {
    const id = idOf('key', context.argument);
    const api = await context.api();
    const key = await api.call<Key>('GET', `/api/api-keys/${id}`);
    const secret = await readSecret(
      context.terminal,
      `Paste the new key for ${key.provider} (it is not shown): `,
    );
    try {
      const content =
        key.sealId === null
          ? await intakeContent(api, key.provider, secret)
          : await sealedContent(context, api, await placeInForce(api, key), key.sealId, secret);
      const force = given('force', context.has('force') ? true : null);
      const next = await api.call<Key>('PATCH', `/api/api-keys/${id}`, { ...content, ...force });
      const { duplicates, fingerprint, version } = next;
      const isSameValue = fingerprint === null ? null : fingerprint === key.fingerprint;
      context.print({ id, version, isSameValue, duplicates }, `Replaced: ${id} is at version ${version}.\n`);
      if (isSameValue === true) warn(context, 'That is the value that it had before: nothing was exchanged.');
      warnOfDuplicates(context, next);
      return exits.ok;
    } finally {
      wipe(secret);
    }
  },
};

/** With --json the document has it, and standard error is for what failed. */
function warn({ isJson, terminal }: Context, text: string): void {
  if (!isJson) terminal.error.write(`${text}\n`);
}

/** The same value twice is one key at its provider, with one limit: it shares no load, and is revoked as one. */
function warnOfDuplicates(context: Context, { duplicates = [] }: Key): void {
  if (duplicates.length === 0) return;
  warn(
    context,
    `The same value is stored as ${duplicates.join(', ')}: at the provider that is one key, with one limit.\n  What they are: bin/sallyport keys show ID`,
  );
}

const list: Command = {
  words: 'keys list',
  doc: 'List the stored keys; never their values.',
  options: {
    provider: { value: 'NAME', doc: 'of one provider' },
    user: { value: 'USER', doc: 'of one user' },
    'expiring-within': { value: 'DAYS', doc: 'that expire within so many days' },
    'rotation-due': { value: null, doc: 'whose value is older than it should get' },
  },
  async run(context) {
    const api = await context.api();
    const user = context.text('user');
    const data = await api.list<Key>('/api/api-keys', {
      provider: context.text('provider'),
      userId: user === null ? null : await userId(api, user),
      expiringWithin: context.text('expiring-within'),
      rotationDue: context.has('rotation-due') ? 'true' : null,
    });
    const rows = data.map((key) => [
      key.id,
      key.name,
      key.provider,
      key.last4 === null ? null : `…${key.last4}`,
      key.source,
      key.status,
      key.lastUsedAt,
    ]);
    const isAll = ['provider', 'user', 'expiring-within'].every((name) => context.text(name) === null);
    const none =
      isAll && !context.has('rotation-due')
        ? 'No keys. Store one: bin/sallyport keys add --provider openai --name main\n'
        : 'No such keys.\n';
    context.print(
      { data },
      rows.length === 0
        ? none
        : textTable(['ID', 'NAME', 'PROVIDER', 'ENDS', 'SOURCE', 'STATUS', 'LAST USED'], rows),
    );
    return exits.ok;
  },
};

const test: Command = {
  words: 'keys test',
  doc: 'Ask the provider whether it takes a key; of a sealed key the seal’s secret is asked for.',
  argument: 'ID',
  options: {},
  async run(context) {
    const keyId = idOf('key', context.argument);
    const api = await context.api();
    const headers = await sealHeaders(context, await api.call<Key>('GET', `/api/api-keys/${keyId}`));
    const result = await api.call<{ ok: boolean; code: string | null; ms: number; message: string }>(
      'POST',
      '/api/api-keys/test',
      { keyId },
      headers,
    );
    const { code, message, ms, ok } = result;
    context.print(result, ok ? `The provider takes it (${ms} ms).\n` : `${message} (${code})\n`);
    return result.ok ? exits.ok : exits.refused;
  },
};

const rm: Command = {
  words: 'keys rm',
  doc: 'Delete a key for good; the record of its uses stays.',
  argument: 'ID',
  options: confirmOption,
  async run(context) {
    const id = idOf('key', context.argument);
    const api = await context.api();
    await confirm(context, async () => {
      const { name, provider, last4, lastUsedAt } = await api.call<Key>('GET', `/api/api-keys/${id}`);
      const ends = last4 === null ? '' : `, …${last4}`;
      return `This deletes the key “${name}” (${provider}${ends}) for good: its value is shredded, and calls that use it are cut. Last used: ${lastUsedAt ?? 'never'}.`;
    });
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/api-keys/${id}`);
    context.print(gone, `Deleted. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

export const keyCommands: readonly Command[] = [add, list, replace, test, rm];
