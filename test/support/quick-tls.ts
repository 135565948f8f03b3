/** A child process: a provider that answers each request at once, by TLS. It tells its port; asked anything, how many connected. */
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';

const folder = new URL('tls/', import.meta.url);
const [cert, key] = ['leaf.pem', 'leaf.key'].map((name) => readFileSync(new URL(name, folder)));
const answer = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
let connections = 0;

const server = createServer({ cert, key, noDelay: true }, (socket) => {
  connections += 1;
  socket.on('error', () => {});
  // A request is one record: nothing has to be put together.
  socket.on('data', () => void socket.write(answer));
}).listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('message', () => process.send?.(connections));
process.on('disconnect', () => process.exit(0));
