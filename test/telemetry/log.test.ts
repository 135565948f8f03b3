import { randomBytes } from 'node:crypto';
import t from 'tap';
import { mintToken } from '../../src/ids.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { scrub } from '../../src/telemetry/scrub.ts';

function recorder(level: 'debug' | 'info' = 'info') {
  const lines: string[] = [];
  const log = createLog({ level, write: (line) => void lines.push(line), clock: () => 1_767_323_045_678 });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '') as Record<string, unknown> };
}

const secret = randomBytes(24).toString('hex');

t.test('a line carries its event, time, level and allow-listed fields alone', async (t) => {
  const { log, last, lines } = recorder();
  const request = { callId: 'call_1', status: 200, apiKey: secret, headers: { authorization: secret } };
  log.info('call.end', request);
  t.same(last(), {
    level: 'info',
    time: '2026-01-02T03:04:05.678Z',
    callId: 'call_1',
    status: 200,
    event: 'call.end',
  });
  t.ok(lines[0]?.endsWith('\n'));
  t.notMatch(lines.join(''), secret);
  log.debug('not at this level');
  t.equal(lines.length, 1);
});

t.test('no value makes logging throw or shows what it holds', async (t) => {
  const { log, last, lines } = recorder();
  const cyclic: Record<string, unknown> = { secret };
  cyclic['self'] = cyclic;
  const trap = new Proxy(
    {},
    {
      getPrototypeOf: () => {
        throw new Error(secret);
      },
      get: () => {
        throw new Error(secret);
      },
    },
  );
  const throwing = Object.defineProperty(new Error('x'), 'message', {
    get: () => {
      throw new Error(secret);
    },
  });
  const values: unknown[] = [
    Buffer.from(secret),
    new TextEncoder().encode(secret),
    new URL(`https://u:${secret}@host.example/${secret}?key=${secret}#${secret}`),
    cyclic,
    [cyclic, [secret]],
    trap,
    throwing,
    Symbol('s'),
    () => secret,
    new Map([[secret, secret]]),
    new Date(Number.NaN),
    10n ** 40n,
    Number.NaN,
    { toJSON: () => secret },
    {
      [Symbol.toPrimitive]: () => {
        throw new Error('x');
      },
    },
    new ArrayBuffer(8),
    null,
    undefined,
  ];
  for (const value of values) {
    t.doesNotThrow(() => log.warn('odd', { detail: value, error: value }));
    t.equal(last()['event'], 'odd');
  }
  t.doesNotThrow(() =>
    log.warn(
      'odd',
      Object.defineProperty({}, 'detail', {
        get: () => {
          throw new Error(secret);
        },
      }),
    ),
  );
  t.doesNotThrow(() => log.warn('odd', trap));
  t.notMatch(lines.join(''), secret);
  t.match(JSON.stringify(lines), /host\.example/);
});

t.test('an error shows name, code, message and cause, cut at a bound', async (t) => {
  const { log, last } = recorder();
  const cause = Object.assign(new Error('reset'), { code: 'ECONNRESET', body: secret });
  log.error('failed', { error: new TypeError('x'.repeat(1e6), { cause }) });
  const { error } = last() as { error: { message: string; stack: string; cause: object } };
  t.match(error, { name: 'TypeError', cause: { code: 'ECONNRESET', message: 'reset' } });
  t.ok(error.message.length < 1100 && error.stack.length < 4100);
  t.notMatch(JSON.stringify(last()), secret);
});

t.test('credentials inside allowed text are cut out, and the line stays JSON', async (t) => {
  const { log, last, lines } = recorder();
  const body = randomBytes(24).toString('base64url').replaceAll(/[-_]/g, 'x');
  const texts = [
    mintToken('spt').text,
    mintToken('spa').text,
    `sps_${body}`,
    `sk-${body}`,
    `sk-ant-api03-${body}`,
    `sk-proj-${body}`,
    `gsk_${body}`,
    `xai-${body}`,
    `AIzaSy${body}`,
    `AKIA${body.toUpperCase()}`,
    `Bearer ${body}`,
    `bearer\t${body}`,
    `Authorization: Basic ${body}==`,
    `"x-api-key": "${body}"`,
    `x-goog-api-key=${body}`,
    `["api-key","${body}"]`,
    `{"authorization":"${body} ${body}"}`,
    `https://host.example/v1?alt=sse&key=${body}`,
    `postgres://user:${body}@db.example/x`,
    `x-sallyport-seal: ${body}`,
  ];
  for (const text of texts) {
    for (const around of ['', 'told: ', 'line\n', 'q%20', 'abc', '"', '\\', '\u0001', 'key%3D']) {
      if (around === 'abc' && !/^(sp[ats]_|sk-|gsk_|xai-|A)/.test(text)) continue;
      log.error('refused', { detail: `${around}${text}${around}`, error: new Error(`${around}${text}`) });
      t.notOk(lines.at(-1)?.includes(body.slice(0, 16)), `${around}${text} → ${lines.at(-1)}`);
      t.notOk(lines.at(-1)?.includes(text.slice(-30)) && text.startsWith('sp'), 'tokens too');
      t.equal(last()['event'], 'refused', 'still JSON');
    }
  }
});

t.test('what is no credential passes as it is', async (t) => {
  for (const text of [
    'tok_0195b7c40c8a7e1f9d0123456789abcd',
    'key_0195b7c40c8a7e1f9d0123456789abcd',
    'https://api.openai.com',
    'task-id',
    'gpt-4o-mini-2024-07-18',
    '/v1/chat/completions',
    'risk-free',
    'ask-me',
    'a1b2c3d4e5f60718',
  ]) {
    t.equal(scrub(`{"detail":"${text}"}`), `{"detail":"${text}"}`);
  }
});

t.test('scrubbing takes time in proportion to the line', async (t) => {
  for (const piece of [
    'sk-',
    '://',
    ':',
    'bearer ',
    'authorization:',
    'x-api-key',
    '&key',
    '://a:',
    'sp',
    '\\',
    'basic\\n',
  ]) {
    const line = piece.repeat(Math.ceil(200_000 / piece.length));
    const started = process.cpuUsage();
    scrub(line);
    const { user } = process.cpuUsage(started);
    t.ok(user < 500_000, `${piece}: ${user} µs for ${line.length} characters`);
  }
});

t.test('a sink that fails does not fail the caller', async (t) => {
  const log = createLog({
    level: 'info',
    write: () => {
      throw new Error('EPIPE');
    },
  });
  t.doesNotThrow(() => log.info('x'));
});
