import type { IncomingMessage } from 'node:http';
import t from 'tap';
import { createArrival } from '../../src/routes/arrival.ts';
import { createClientAddresses } from '../../src/routes/client-address.ts';

const { ownOrigin } = createArrival(
  { allowPlainHttp: false, requireTls: false },
  createClientAddresses(['10.0.0.1']),
);

function came(
  remoteAddress: string,
  headers: Record<string, string | string[]>,
  encrypted = false,
): string | null {
  return ownOrigin({ headers, socket: { remoteAddress, encrypted } } as unknown as IncomingMessage);
}

t.test('the gateway is called what its client called it, or what a trusted proxy says', async (t) => {
  const host = 'llm.example:8443';
  const told = { host, 'x-forwarded-host': 'api.example', 'x-forwarded-proto': 'https' };
  t.equal(came('192.0.2.1', { host }), 'http://llm.example:8443');
  t.equal(came('192.0.2.1', { host }, true), 'https://llm.example:8443');
  t.equal(came('192.0.2.1', told), 'http://llm.example:8443', 'others are not believed');
  t.equal(came('10.0.0.1', told), 'https://api.example');
  t.equal(came('10.0.0.1', { host, 'x-forwarded-proto': 'https' }), 'https://llm.example:8443');
  t.equal(came('192.0.2.1', { host: '[::1]:8080' }), 'http://[::1]:8080');
});

t.test('what is no host is part of no URL', async (t) => {
  for (const host of [
    '',
    'a/b',
    'user@host',
    'a b',
    'a?b',
    'a#b',
    'a\\b',
    'a:b',
    'a:99999',
    '[::1',
    'a,b',
    '%61',
  ])
    t.equal(came('10.0.0.1', { host: 'x', 'x-forwarded-host': host }), null, host);
  t.equal(came('192.0.2.1', {}), null);
});
