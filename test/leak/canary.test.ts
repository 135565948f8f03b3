import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { sql } from 'kysely';
import t from 'tap';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { newSeal } from '../support/seal.ts';

// Every gateway of the suite is searched when its test ends (test/support/canary.ts); here is shown that the search would find something.
const newKey = (): string => `sk-${randomBytes(24).toString('hex')}`;

t.test('a key in a table, in whatever form, is found by the search that ends every test', async (t) => {
  const forms: readonly ((key: string) => string)[] = [
    (key) => key,
    (key) => Buffer.from(key).toString('base64'),
    (key) => Buffer.from(`x${key}`).toString('base64url'),
    (key) => Buffer.from(key).toString('hex'),
    (key) => Buffer.from(key).toString('hex').toUpperCase(),
  ];
  for (const form of forms) {
    const gateway = await startGateway(t);
    const key = newKey();
    const id = await gateway.addKey('openai', key);
    await gateway.installation.store.asWorkspace(gateway.workspaceId, (tx) =>
      sql`update provider_keys set description = ${form(key)} where id = ${id}`.execute(tx),
    );
    await t.rejects(gateway.stop(), { message: /a secret leaked.*tables/ }, form('key'));
  }
});

t.test('what comes with a call, a seal or a key, is watched too, in the text and in the bytes', async (t) => {
  const seal = newSeal();
  const given = newKey();
  const token = (gateway: TestGateway): Record<string, string> => ({ 'x-api-key': gateway.token });
  const cases: readonly [(gateway: TestGateway) => Record<string, string>, string][] = [
    [(gateway) => ({ 'x-api-key': `${gateway.token}.${seal.secret}` }), seal.ikm.toString('hex')],
    [(gateway) => ({ ...token(gateway), 'x-sallyport-seal': seal.secret }), seal.secret],
    [(gateway) => ({ ...token(gateway), 'x-sallyport-provider-key': given }), given],
  ];
  for (const [headersOf, form] of cases) {
    const gateway = await startGateway(t);
    await ask(`${gateway.origin}/openai/v1/models`, { headers: headersOf(gateway), method: 'GET' });
    (gateway.logLines as string[]).push(`{"event":"x","detail":"${form}"}`);
    await t.rejects(gateway.stop(), { message: /a secret leaked.*log/ });
  }
});

t.test('a key in a log line, or in the journal is found', async (t) => {
  const logged = await startGateway(t);
  const key = newKey();
  await logged.addKey('openai', key);
  (logged.logLines as string[]).push(`{"event":"x","detail":"${key}"}`);
  await t.rejects(logged.stop(), { message: /a secret leaked.*log/ });

  const journalled = await startGateway(t);
  await journalled.addKey('openai', key);
  writeFileSync(path.join(journalled.journalDir, 'note'), Buffer.from(key, 'utf16le'));
  await t.rejects(journalled.stop(), { message: /a secret leaked.*journal/ });
});

t.test(
  'whatever a client gets wrong, no answer, line, record or row repeats a key, a token or a seal',
  async (t) => {
    const gateway = await startGateway(t);
    const key = newKey();
    await gateway.addKey('openai', key);
    const seal = `sps_${randomBytes(32).toString('base64url')}AAAAAA`;
    const { token, adminToken } = gateway;
    const wrong = [
      { authorization: `Bearer ${key}` },
      { authorization: key },
      { authorization: `Bearer ${token}x` },
      { authorization: `Bearer ${adminToken}` },
      { authorization: `Bearer ${token}.${seal}` },
      { authorization: `Bearer ${token}`, 'x-api-key': key },
      { authorization: `Bearer ${token}`, 'x-sallyport-seal': seal },
      { authorization: `Bearer ${token}`, 'x-sallyport-provider-key': `${key} ${key}` },
      { authorization: `Bearer ${token}`, 'x-sallyport-provider': key },
    ];
    const paths = [
      '/v1/chat/completions',
      '/anthropic/v1/messages',
      `/v1/${key}`,
      `/v1/models?key=${key}`,
      `/v1/models?key=${token}.${seal}`,
    ];
    for (const headers of wrong) {
      for (const place of paths) {
        const answer = await fetch(`${gateway.origin}${place}`, {
          method: place.includes('models') ? 'GET' : 'POST',
          headers: { ...headers, 'content-type': 'application/json' } as Record<string, string>,
          ...(place.includes('models') ? {} : { body: JSON.stringify({ model: key, messages: key }) }),
        });
        const text = await answer.text();
        t.ok(answer.status >= 400, `${place}: ${answer.status}`);
        t.notOk(
          [key, token, adminToken, seal].some((secret) => text.includes(secret)),
          place,
        );
      }
    }
    await gateway.shipped();
  },
);
