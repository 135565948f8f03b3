import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { streamEvents, usageEvent, wholeAnswer } from '../cases.ts';

/** What a request asks for in its field `user`. */
export type Mood = 'whole' | 'paced' | 'embedding' | 'limited' | 'broken' | 'reset' | 'cut' | 'stall';

export interface SoakUpstream {
  readonly origin: string;
  /** Connections that wait for a request are closed, so that nothing of the traffic is left. */
  rest(): void;
  close(): void;
}

const eventMs = 20;
const eventsOfPaced = 40;
const eventsOfCut = 3;
const embedding = JSON.stringify({
  object: 'list',
  model: 'text-embedding-3-small',
  data: [{ object: 'embedding', index: 0, embedding: Array.from({ length: 512 }, (_, i) => i / 512) }],
  usage: { prompt_tokens: 8, total_tokens: 8 },
});

/** A provider with moods, and one key. */
export async function startSoakUpstream(key: string): Promise<SoakUpstream> {
  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('error', () => {}).on('data', (part: Buffer) => void parts.push(part));
    response.on('error', () => {});
    request.on('end', () => {
      const mood = /"user":"(\w+)"/.exec(Buffer.concat(parts).toString('latin1'))?.[1] as Mood | undefined;
      if (request.headers.authorization !== `Bearer ${key}`) response.writeHead(401).end();
      else if (mood === undefined) response.writeHead(404).end();
      else void answers[mood](response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.freeze({
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    rest: () => server.closeIdleConnections(),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  });
}

const answers: Readonly<Record<Mood, (response: ServerResponse) => Promise<unknown> | void>> = {
  whole: (response) => json(response, 200, wholeAnswer),
  embedding: (response) => json(response, 200, embedding),
  limited: (response) => json(response, 429, '{"error":{"message":"slow down","type":"requests"}}'),
  broken: (response) => json(response, 500, '{"error":{"message":"broken","type":"server_error"}}'),
  reset: (response) => void response.socket?.resetAndDestroy(),
  // Whoever waits gives up; the connection's end is the end of it here.
  stall: () => {},
  async paced(response) {
    await stream(response, eventsOfPaced);
    response.write(usageEvent);
    response.end('data: [DONE]\n\n');
  },
  async cut(response) {
    await stream(response, eventsOfCut);
    response.destroy();
  },
};

function json(response: ServerResponse, status: number, body: string | Buffer): void {
  const length = Buffer.byteLength(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': length }).end(body);
}

async function stream(response: ServerResponse, count: number): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const event of streamEvents.slice(0, count)) {
    if (response.destroyed) return;
    response.write(event);
    await pause(eventMs);
  }
}
