import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import t from 'tap';
import { askReadiness } from '../../src/cli/healthcheck.ts';
import { startGateway } from '../support/gateway.ts';
import { tlsFolder } from '../support/tls-files.ts';

const portOf = (origin: string): number => Number(new URL(origin).port);

t.test(
  'a gateway that serves is ready, and over TLS only with the certificate that the settings name',
  async (t) => {
    const files = tlsFolder(t);
    const other = tlsFolder(t);
    other.putCert('renewed');
    const gateway = await startGateway(t, { settings: { ...files.settings, REQUIRE_TLS: 'true' } });
    const place = { host: '0.0.0.0', port: portOf(gateway.origin) };
    for (const host of ['127.0.0.1', '0.0.0.0', 'localhost'])
      t.same(await askReadiness({ ...place, host, tlsCertFile: files.certFile }), {
        isReady: true,
        status: 'ready',
      });
    await t.rejects(askReadiness({ ...place, tlsCertFile: other.certFile }), { code: 'GATEWAY_UNREACHABLE' });
    await t.rejects(askReadiness({ ...place, tlsCertFile: null }), { code: 'GATEWAY_UNREACHABLE' });
    await t.rejects(askReadiness({ ...place, tlsCertFile: `${files.certFile}.gone` }), {
      code: 'GATEWAY_UNREACHABLE',
      message: /ENOENT/,
    });
  },
);

t.test('what is no gateway is not well, whatever it answers', async (t) => {
  const answers = {
    'a gateway': 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 18\r\n\r\n{"status":"ready"}',
    'a page': 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>',
    'a refusal': 'HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 24\r\n\r\n{"status":"not_ready"}  ',
    'a cut': 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{',
    'another protocol': 'SSH-2.0-OpenSSH_9.2\r\n',
  };
  for (const [name, answer] of Object.entries(answers)) {
    const server = createServer((socket) => socket.on('error', () => {}).end(answer)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const told = await askReadiness({ host: '127.0.0.1', port, tlsCertFile: null }).catch(
      (error: { code: string }) => error.code,
    );
    if (name === 'a gateway') t.same(told, { isReady: true, status: 'ready' }, name);
    else if (name === 'a refusal') t.same(told, { isReady: false, status: 'not_ready' }, name);
    else t.equal(told, 'GATEWAY_UNREACHABLE', name);
    server.close();
    await t.rejects(askReadiness({ host: '::ffff:127.0.0.1', port, tlsCertFile: null }), {
      code: 'GATEWAY_UNREACHABLE',
    });
  }
  await t.rejects(askReadiness({ host: '127.0.0.1', port: 0, tlsCertFile: null }), {
    code: 'CONFIG_INVALID',
  });
});
