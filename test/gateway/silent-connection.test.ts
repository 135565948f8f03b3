import { once } from 'node:events';
import { connect } from 'node:net';
import { sql } from 'kysely';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';

t.test('a connection that never asks anything does not hold up a stop', async (t) => {
  const gateway = await startGateway(t);
  const { hostname, port } = new URL(gateway.origin);
  // A browser opens some of these ahead of need; the second one breaks off in mid-head.
  const silent = connect(Number(port), hostname);
  const halting = connect(Number(port), hostname);
  for (const socket of [silent, halting]) {
    socket.on('error', () => {});
    await once(socket, 'connect');
  }
  halting.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
  await (await fetch(`${gateway.origin}/healthz`)).text();
  const startedAt = performance.now();
  await gateway.stop();
  t.ok(performance.now() - startedAt < 10_000, 'before any timeout of the server');
});

t.test('a client that takes nothing of an export does not hold up a stop', async (t) => {
  const gateway = await startGateway(t);
  await gateway.installation.store.asSystem((tx) =>
    sql`insert into journal (month, stream, seq, workspace_id, at, event, hash, line)
      select '2026-01-01', 'bulk:1', i, ${gateway.workspaceId}, now(), 'x.bulk', '\\x00',
        json_build_object('at', '', 'filling', repeat('x', 10000)) from generate_series(1, 1500) as i`.execute(
      tx,
    ),
  );
  const { hostname, port } = new URL(gateway.origin);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  const head = `GET /api/audit?format=jsonl HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.adminToken}\r\n\r\n`;
  socket.write(head);
  await once(socket, 'readable');
  const startedAt = performance.now();
  await gateway.stop();
  t.ok(performance.now() - startedAt < 20_000, 'before any timeout of the server');
  socket.destroy();
});
