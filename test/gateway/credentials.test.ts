import fc from 'fast-check';
import t from 'tap';
import { SallyportError } from '../../src/errors.ts';
import { readCredentials } from '../../src/gateway/credentials.ts';
import { mintToken } from '../../src/ids.ts';
import { newSeal } from '../support/seal.ts';

const { text: token } = mintToken('spt');
const { text: other } = mintToken('spt');

function codeOf(headers: readonly string[], query = ''): string {
  try {
    readCredentials(headers, query);
    return 'ok';
  } catch (error) {
    if (error instanceof SallyportError) return error.code;
    throw error;
  }
}

t.test('a token is found wherever an SDK puts its key', async (t) => {
  for (const [headers, query] of [
    [['Authorization', `Bearer ${token}`], ''],
    [['authorization', `bearer   ${token}`], ''],
    [['X-Api-Key', token], ''],
    [['x-goog-api-key', ` ${token} `], ''],
    [['api-key', token], ''],
    [[], `?key=${token}`],
    [['x-api-key', token, 'authorization', `Bearer ${token}`], `?key=${token}`],
  ] as const)
    t.equal(readCredentials(headers, query).text, token);
});

t.test(
  'a token in the query is taken out however its name is written, the rest stays byte for byte',
  async (t) => {
    for (const [query, rest] of [
      [`?key=${token}`, ''],
      [`?alt=sse&key=${token}`, '?alt=sse'],
      [`?key=${token}&alt=sse&x=%2F+a`, '?alt=sse&x=%2F+a'],
      [`?a=1&%6bey=${token}&b`, '?a=1&b'],
      [`?%4b=1&k%65y=${token}`, '?%4b=1'],
      [`?key=${token}&key=${token}`, ''],
      [`?key=%73pt_${token.slice(4)}`, ''],
    ] as const)
      t.match(readCredentials([], query), { text: token, query: rest }, query);
    for (const query of ['?keys=1', '?pagekey=2', '?Key=3', '?k=4', ''])
      t.equal(readCredentials(['x-api-key', token], query).query, query);
    t.equal(codeOf(['x-api-key', token], `?k%65y=${other}`), 'REQUEST_INVALID');
    t.equal(codeOf([], `?key=${token}&key=${other}`), 'REQUEST_INVALID');
    t.equal(codeOf([], '?key=%ff'), 'REQUEST_INVALID');
    t.equal(codeOf([], '?key'), 'AUTH_MISSING');
  },
);

t.test('a seal is cut off its token, wherever they stand, and becomes bytes', async (t) => {
  const [seal, another] = [newSeal(), newSeal()];
  const both = `${token}.${seal.secret}`;
  for (const headers of [
    ['Authorization', `Bearer ${both}`],
    ['x-api-key', both],
    ['x-goog-api-key', ` ${both} `],
    ['api-key', both],
    ['x-api-key', token, 'X-Sallyport-Seal', seal.secret],
    ['x-api-key', both, 'authorization', `Bearer ${token}`],
    ['x-api-key', both, 'authorization', `Bearer ${both}`, 'x-sallyport-seal', ` ${seal.secret}`],
  ]) {
    const read = readCredentials(headers, '');
    t.equal(read.text, token, 'one entry of the cache, whatever seals come with the token');
    t.ok(read.seal?.equals(seal.ikm));
    t.equal(read.seal?.buffer.byteLength, 32, 'memory of its own');
  }
  t.equal(readCredentials(['x-api-key', token], '').seal, null);
  t.equal(codeOf(['x-api-key', both, 'x-sallyport-seal', another.secret]), 'REQUEST_INVALID');
  t.equal(codeOf(['x-api-key', both, 'api-key', `${token}.${another.secret}`]), 'REQUEST_INVALID');
  t.equal(codeOf(['x-api-key', both, 'api-key', `${other}.${seal.secret}`]), 'REQUEST_INVALID');
  t.equal(codeOf(['x-api-key', `${token}.${seal.secret}.${seal.secret}`]), 'SEAL_WRONG');
  t.equal(codeOf(['x-api-key', seal.secret]), 'AUTH_INVALID', 'a seal is no token');
  t.equal(codeOf(['x-sallyport-seal', seal.secret]), 'AUTH_MISSING');
  for (const query of [
    `?key=${both}`,
    `?key=${encodeURIComponent(both)}`,
    `?key=${seal.secret}`,
    `?key=${token}.sps_`,
  ])
    t.equal(codeOf([], query), 'REQUEST_INVALID', 'a seal in a URL');
  for (const query of [
    `?x=${seal.secret}`,
    `?${seal.secret}`,
    `?x=${other}`,
    `?x=%73%70%73%5f${seal.secret.slice(4)}`,
    `?x=%ff${seal.secret}`,
  ])
    t.equal(codeOf(['x-api-key', token], query), 'REQUEST_INVALID', query);
  t.equal(codeOf(['x-api-key', token], '?sps_=1&spt_short=2'), 'ok');
});

t.test('a provider key that comes along becomes bytes, and an empty header is not no header', async (t) => {
  const key = 'sk-test-0123456789';
  const read = readCredentials(['x-api-key', token, 'X-Sallyport-Provider-Key', key], '');
  t.equal(read.providerKey?.toString('latin1'), key);
  t.equal(read.providerKey?.buffer.byteLength, key.length, 'memory of its own');
  t.equal(readCredentials(['x-api-key', token], '').providerKey, null);
  for (const bad of ['', 'short', `${key} x`, `${key}é`, token, `${token}.${newSeal().secret}`])
    t.equal(codeOf(['x-api-key', token, 'x-sallyport-provider-key', bad]), 'KEY_FORMAT', bad);
});

t.test('two credentials, or one header twice, are refused', async (t) => {
  t.equal(codeOf(['authorization', `Bearer ${token}`, 'x-api-key', other]), 'REQUEST_INVALID');
  t.equal(codeOf(['authorization', `Bearer ${token}`, 'x-api-key', 'sk-other']), 'REQUEST_INVALID');
  t.equal(codeOf(['x-api-key', token], `?key=${other}`), 'REQUEST_INVALID');
  for (const name of [
    'authorization',
    'x-api-key',
    'host',
    'content-type',
    'content-encoding',
    'x-sallyport-provider',
  ])
    t.equal(
      codeOf(['x-goog-api-key', token, name, `Bearer ${token}`, name.toUpperCase(), `Bearer ${token}`]),
      'REQUEST_INVALID',
      name,
    );
});

t.test('what is no gateway token is told what it is', async (t) => {
  const message = (headers: readonly string[]): string => {
    try {
      readCredentials(headers, '');
      return '';
    } catch (error) {
      return (error as SallyportError).message;
    }
  };
  t.equal(codeOf([]), 'AUTH_MISSING');
  t.equal(codeOf(['x-api-key', '']), 'AUTH_MISSING');
  t.equal(codeOf(['authorization', 'Bearer ']), 'AUTH_MISSING', 'an unset variable');
  t.equal(codeOf(['authorization', 'Basic dTpw']), 'AUTH_INVALID');
  t.equal(codeOf(['authorization', token]), 'AUTH_INVALID');
  t.match(message(['x-api-key', mintToken('spa').text]), /admin token.*\/api.*gateway token/s);
  for (const key of ['sk-proj-123', 'gsk_1', 'xai-1', 'AIzaX', 'sk-ant-1'])
    t.match(message(['x-api-key', key]), /looks like a provider key.*spt_/s, key);
  t.match(message(['x-api-key', 'spt_short']), /not well-formed/);
  t.equal(codeOf(['x-api-key', `${token}.sps_abc`]), 'SEAL_WRONG');
});

t.test('a token with any one character changed is refused before it is looked up', async () => {
  fc.assert(
    fc.property(
      fc.nat(token.length - 1),
      fc.constantFrom(...'0 9 a z A Z _ - . ~ é'.split(' '), ' '),
      (at, letter) => {
        if (token[at] === letter) return;
        const changed = token.slice(0, at) + letter + token.slice(at + 1);
        const code = codeOf(['x-goog-api-key', changed]);
        // The first or last character made a space is trimmed: shorter, and refused as well.
        if (code !== 'AUTH_INVALID') throw new Error(`${code} for ${changed}`);
      },
    ),
  );
});
