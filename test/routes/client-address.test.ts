import type { IncomingMessage } from 'node:http';
import t from 'tap';
import { createClientAddresses } from '../../src/routes/client-address.ts';

function addressOf(trusted: readonly string[], peer: string | undefined, forwarded?: string): string {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
  const request = { headers, socket: { remoteAddress: peer } } as unknown as IncomingMessage;
  return createClientAddresses(trusted).of(request);
}

const proxies = ['10.0.0.0/8', '192.0.2.1', '2001:db8:1::/48', '::1'];

t.test('the client is the rightmost address that is no trusted proxy', async (t) => {
  const cases: [peer: string, forwarded: string | undefined, client: string][] = [
    ['10.0.0.1', '198.51.100.7', '198.51.100.7'],
    ['::ffff:10.0.0.1', '198.51.100.7', '198.51.100.7'],
    ['10.0.0.1', '198.51.100.7, 10.9.9.9, 192.0.2.1', '198.51.100.7'],
    ['10.0.0.1', '1.1.1.1, 198.51.100.7', '198.51.100.7'],
    ['10.0.0.1', '1.1.1.1,198.51.100.7 ,  10.0.0.2', '198.51.100.7'],
    ['::1', '2001:db8:1::5, 2001:db8:2::5', '2001:db8:2::5'],
    ['2001:db8:1::9', '2001:DB8:0002:0:0:0:0:5', '2001:db8:2::5'],
    ['10.0.0.1', '::ffff:198.51.100.7', '198.51.100.7'],
    ['10.0.0.1', '::ffff:c633:6407', '198.51.100.7'],
    ['10.0.0.1', '::ffff:a00:2, ::ffff:10.0.0.3', '10.0.0.2'],
    ['10.0.0.1', '198.51.100.7:51234', '198.51.100.7'],
    ['10.0.0.1', '[2001:db8:2::5]:443', '2001:db8:2::5'],
    ['10.0.0.1', '[2001:db8:2::5]', '2001:db8:2::5'],
    ['10.0.0.1', 'fe80::1%eth0', 'fe80::1'],
    // Clients within the proxies' own networks.
    ['10.0.0.1', '10.0.0.5, 10.0.0.4', '10.0.0.5'],
    ['10.0.0.1', undefined, '10.0.0.1'],
  ];
  for (const [peer, forwarded, client] of cases)
    t.equal(addressOf(proxies, peer, forwarded), client, `${peer} says ${forwarded}`);
});

t.test(
  'nobody who is not trusted is believed, and nothing that is no address is taken for one',
  async (t) => {
    for (const forwarded of ['127.0.0.1', '10.0.0.1', '1.2.3.4, 10.0.0.1']) {
      t.equal(addressOf([], '127.0.0.1', forwarded), '127.0.0.1', 'no proxy is trusted');
      t.equal(addressOf(proxies, '198.51.100.7', forwarded), '198.51.100.7');
      t.equal(addressOf(proxies, '2001:db8:2::7', forwarded), '2001:db8:2::7');
    }
    for (const garbage of [
      '',
      ' , ',
      'unknown',
      '_hidden',
      '1.2.3.4.5',
      '1.2.3',
      '2130706433',
      '0x7f000001',
      '01.2.3.4',
      '1.2.3.4:99999999',
      '[1.2.3.4',
      '[[::5]]',
      'localhost',
      '<script>',
      '"1.2.3.4"',
      'for=1.2.3.4',
      '1.2.3.4 5.6.7.8',
      '\u0661.2.3.4',
      'x'.repeat(8000),
    ]) {
      t.equal(addressOf(proxies, '10.0.0.1', garbage), '10.0.0.1', garbage.slice(0, 30));
      t.equal(
        addressOf(proxies, '10.0.0.1', `1.1.1.1, ${garbage}, 10.0.0.2`),
        '10.0.0.2',
        'up to what is known',
      );
    }
    t.equal(addressOf(proxies, undefined, '1.2.3.4'), '', 'a socket that is gone');
  },
);
