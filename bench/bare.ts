/**
 * The least that a person would write: node:http, undici.request, pipeline, a key in the header, and the provider's call given up when
 * its client leaves, or he would pay for answers that nobody reads. It checks nothing and records nothing.
 *
 * A child process; argv: the upstream's origin, the key. Tells its port over the parent's channel, and ends with it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Agent, request as send } from 'undici';

const [, , origin = '', key = ''] = process.argv;
const dispatcher = new Agent({ pipelining: 1, keepAliveTimeout: 60_000 });

async function relay(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { 'content-type': type = '', 'content-length': length } = request.headers;
  const leaving = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) leaving.abort();
  });
  const answer = await send(`${origin}${request.url}`, {
    method: 'POST',
    headers: {
      'content-type': type,
      ...(length === undefined ? {} : { 'content-length': length }),
      authorization: `Bearer ${key}`,
    },
    body: request,
    dispatcher,
    signal: leaving.signal,
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
