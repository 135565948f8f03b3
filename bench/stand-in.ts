/**
 * The provider of a bench, a child process: answers chat completions at once, and only to the one key. argv: the key. Tells its port
 * over the parent's channel, and ends with it.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chatPath, doneEvent, streamEvents, usageEvent, wholeAnswer } from './cases.ts';

const credential = `Bearer ${process.argv[2] ?? ''}`;

const server = createServer(
  { noDelay: true, keepAliveTimeout: 120_000, requestTimeout: 0 },
  (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (request.url !== chatPath || request.headers.authorization !== credential) {
        response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":{"message":"no"}}');
        return;
      }
      const body = Buffer.concat(parts);
      if (body.includes('"stream":true')) stream(response, body.includes('"include_usage":true'));
      else {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': wholeAnswer.length });
        response.end(wholeAnswer);
      }
    });
  },
);

/** Each event is a write of its own, as a provider's would be: within one turn Node would send them all as one. */
function stream(response: ServerResponse, withUsage: boolean): void {
  const events = withUsage ? [...streamEvents, usageEvent, doneEvent] : [...streamEvents, doneEvent];
  let next = 0;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const step = (): void => {
    if (response.destroyed) return;
    if (next === events.length) return void response.end();
    const hasRoom = response.write(events[next]);
    next += 1;
    if (hasRoom) process.nextTick(step);
    else response.once('drain', step);
  };
  step();
}

process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
