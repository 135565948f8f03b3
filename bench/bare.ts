/**
 * The least that a person would write: node:http, undici.request, pipeline, and a key in the header. It checks nothing and records
 * nothing. A child process; argv: the upstream's origin, the key. Tells its port over the parent's channel, and ends with it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Agent, request as send } from 'undici';

const [, , origin = '', key = ''] = process.argv;
const dispatcher = new Agent({ pipelining: 1, keepAliveTimeout: 60_000 });

async function relay(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { 'content-type': type = '', 'content-length': length } = request.headers;
  const answer = await send(`${origin}${request.url}`, {
    method: 'POST',
    headers: {
      'content-type': type,
      ...(length === undefined ? {} : { 'content-length': length }),
      authorization: `Bearer ${key}`,
    },
    body: request,
    dispatcher,
  });
  response.writeHead(answer.statusCode, pick(answer.headers));
  await pipeline(answer.body, response);
}

function pick(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of ['content-type', 'content-length']) {
    const value = headers[name];
    if (typeof value === 'string') picked[name] = value;
  }
  return picked;
}

const server = createServer({ noDelay: true, keepAliveTimeout: 120_000 }, (request, response) => {
  relay(request, response).catch(() => response.destroy());
});
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
