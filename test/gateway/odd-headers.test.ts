import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { ask, rawExchange } from '../support/http-client.ts';
import { rawUpstream, written, type Play } from '../support/raw-upstream.ts';

t.setTimeout(60_000);

let parts: readonly string[] = [];
/** By a name that the query has: for calls that go out side by side. */
const partsFor = new Map<string, readonly string[]>();
const requests: string[] = [];
const plays = (...next: readonly string[]): void => {
  parts = next;
};
const play: Play = async (socket, { head }) => {
  requests.push(head);
  const name = new URL(head.split(' ', 2)[1] ?? '/', 'http://x').searchParams.get('case');
  await written(socket, (name === null ? undefined : partsFor.get(name)) ?? parts);
};

const key = 'sk-test-odd-0123456789abcdefghij';
const upstream = await rawUpstream(t, () => ({ play }));
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);
await gateway.addKey('custom', key, { name: 'local', origins: [upstream.origin] });

async function call(path = '/openai/v1/models') {
  const answer = await ask(gateway.origin + path, { headers: { authorization: `Bearer ${gateway.token}` } });
  return {
    status: answer.status,
    code: answer.header('x-sallyport-code'),
    message: answer.status < 400 ? '' : (answer.json().error?.message as string),
    header: (name: string) => answer.header(name),
    headers: answer.headers,
    text: answer.body.toString('latin1'),
  };
}

const answerOf = (headers: readonly string[], status = '200 OK'): string =>
  [`HTTP/1.1 ${status}`, 'content-length: 2', ...headers, '', '{}'].join('\r\n');

t.test('a head that breaks the rules of HTTP is told as the provider’s fault, in words', async (t) => {
  const cases = [
    ['NUL', answerOf(['openai-x: a\0b'])],
    ['a lone CR', answerOf(['openai-x: a\rset-cookie: b'])],
    ['a folded line', answerOf(['openai-x: a', ' b'])],
    ['a blank before the colon', answerOf(['openai-x : a'])],
    ['a blank in the name', answerOf(['openai x: a'])],
    ['a line without a colon', answerOf(['openai-x'])],
    ['two lengths', answerOf(['content-length: 3'])],
    ['length and chunks', answerOf(['transfer-encoding: chunked'])],
    ['a length that is none', answerOf(['openai-x: 1']).replace('length: 2', 'length: +2')],
    ['a status of four digits', answerOf([], '2000 OK')],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['a bad chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
  ] as const;
  for (const [name, answer] of cases) partsFor.set(name, [answer]);
  // Side by side, because each is asked again after pauses.
  const answers = await Promise.all(
    cases.map(([name]) => call(`/openai/v1/models?case=${encodeURIComponent(name)}`)),
  );
  for (const [n, [name]] of cases.entries()) {
    const { status, code, message, header } = answers[n] as Awaited<ReturnType<typeof call>>;
    if (name === 'a bad chunk' && status === 200) continue;
    t.match(
      { status, code, message },
      { status: 502, code: 'UPSTREAM_ERROR', message: /not valid HTTP/ },
      name,
    );
    t.equal(header('openai-x'), null);
  }
});

t.test('a head of 64 KB is refused in words, one of 300 headers is passed by its list', async (t) => {
  plays(answerOf([`openai-x: ${'x'.repeat(65_536)}`]));
  t.match(await call(), { status: 502, code: 'UPSTREAM_ERROR', message: /head is larger than 16 KiB/ });
  plays(answerOf(Array.from({ length: 4000 }, (_, n) => `o${n}: x`)));
  t.match(await call(), { status: 502, code: 'UPSTREAM_ERROR', message: /head is larger than 16 KiB/ });
  const many = Array.from({ length: 300 }, (_, n) => `${n % 2 === 0 ? 'openai-' : 'x-own-'}${n}: ${n}`);
  plays(answerOf(many));
  const { status, headers } = await call();
  t.equal(status, 200);
  t.equal(headers.filter(([name]) => name.startsWith('openai-')).length, 150);
  t.notOk(headers.some(([name]) => name.startsWith('x-own-')));
});

t.test(
  'bytes beyond ASCII in a header go through as they came, both ways; what Node would not write ends the call',
  async (t) => {
    plays(answerOf(['openai-x: caf\xe9 \xff\x80', 'openai-y: \xe2\x82\xac']));
    const there = await rawExchange(
      gateway.origin,
      Buffer.from(
        `GET /openai/v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\nuser-agent: caf\xe9 \xff\r\nconnection: close\r\n\r\n`,
        'latin1',
      ),
    );
    t.match(there, 'openai-x: caf\xe9 \xff\x80\r\n');
    t.match(there, 'openai-y: \xe2\x82\xac\r\n');
    t.match(requests.at(-1), 'user-agent: caf\xe9 \xff');
    for (const byte of ['\x7f', '\x01', '\x1f']) {
      plays(answerOf([`openai-x: a${byte}b`]));
      const { status, code } = await call();
      t.match({ status, code }, { status: 502, code: 'UPSTREAM_ERROR' }, JSON.stringify(byte));
    }
    t.equal(gateway.app.dataPlane.gateway.callsInFlight(), 0);
  },
);

t.test('what speaks of the provider’s site or connection stays there', async (t) => {
  const theirs = {
    'set-cookie': 'a=b',
    'alt-svc': 'h3=":443"',
    server: 'cloudflare',
    'content-security-policy': "script-src 'unsafe-inline'",
    'strict-transport-security': 'max-age=1',
    'x-frame-options': 'ALLOWALL',
    'access-control-allow-origin': '*',
    'report-to': '{}',
    nel: '{}',
    location: 'https://elsewhere.example',
    'www-authenticate': 'Bearer',
    'proxy-authenticate': 'Basic',
    'clear-site-data': '"*"',
    refresh: '0;url=//x',
    link: '</x>; rel=preload',
    'service-worker-allowed': '/',
    'x-sallyport-provider': 'forged',
    'x-sallyport-code': 'forged',
    'openai-nominated': '1',
    'keep-alive': 'timeout=9',
    'openai-organization': 'acme',
    'x-request-id': 'theirs',
  };
  const list = Object.entries(theirs).map(([name, value]) => `${name}: ${value}`);
  for (const status of ['200 OK', '400 Bad Request', '302 Found', '500 Oops']) {
    plays(answerOf([...list, 'Connection: close, OpenAI-Nominated', 'openai-kept: 1'], status));
    const { headers, header } = await call();
    for (const [name, value] of Object.entries(theirs))
      t.notOk(
        headers.some((each) => each[0] === name && each[1] === value),
        `${status}: ${name}`,
      );
    t.equal(header('openai-kept'), '1');
    t.equal(header('x-sallyport-upstream-request-id'), 'theirs');
    t.equal(header('content-security-policy'), "default-src 'none'");
  }
});

t.test('answers to a hint and an upgrade that nobody asked for do no harm', async (t) => {
  plays(`HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nopenai-x: hint\r\n\r\n${answerOf([])}`);
  const hinted = await call();
  t.equal(hinted.status, 200);
  t.equal(hinted.header('openai-x'), null);
  plays(`HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${answerOf([])}`);
  t.equal((await call()).status, 200);
  plays('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nboo');
  t.match(await call(), { status: 502, code: 'UPSTREAM_ERROR' });
  plays('HTTP/1.1 100 Continue\r\n\r\n');
  t.match(await call(), { status: 502, code: 'UPSTREAM_ERROR' });
});
