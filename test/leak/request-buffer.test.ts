import { once } from 'node:events';
import { createServer } from 'node:http';
import t from 'tap';
import { requestBufferWiper } from '../../src/routes/request-buffer.ts';

t.test(
  'however often it is asked for at once, the buffer is overwritten one request at a time',
  async (t) => {
    let served = 0;
    let open = 0;
    let most = 0;
    const second = Promise.withResolvers<void>();
    const server = createServer((_request, response) => {
      served += 1;
      response.end();
      if (served === 2) second.resolve();
    });
    server.on('connection', (socket) => {
      open += 1;
      most = Math.max(most, open);
      socket.once('close', () => {
        open -= 1;
      });
    });
    const overwrite = requestBufferWiper(server);
    overwrite();
    t.equal(served, 0, 'a server that does not listen is left alone');
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    for (let n = 0; n < 100; n += 1) overwrite();
    await second.promise;
    server.close();
    await once(server, 'close');
    t.equal(served, 2, 'once for what was there, and once for what came meanwhile');
    t.ok(most <= 2);
  },
);
