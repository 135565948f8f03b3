import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders, Server } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';

export interface ServiceRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface ServiceAnswer {
  readonly status: number;
  readonly body: string;
}

export interface KeyService {
  /** `https://localhost:PORT`, with the test tree's certificate. */
  readonly origin: string;
  readonly requests: readonly ServiceRequest[];
  /** `down`: connections are taken and cut; `mute`: requests are read and not answered. */
  mode: 'up' | 'down' | 'mute';
}

interface Teardown {
  teardown(work: () => unknown): void;
}

const pem = (name: string): Buffer => readFileSync(path.join(import.meta.dirname, 'tls', name));

/** A TLS server for the fakes of key services: what is asked is kept, what is answered is theirs. */
export async function startKeyService(
  t: Teardown,
  answer: (request: ServiceRequest) => ServiceAnswer,
): Promise<KeyService> {
  const requests: ServiceRequest[] = [];
  const server: Server = createServer(
    { cert: pem('leaf.pem'), key: pem('leaf.key') },
    (request, response) => {
      if (service.mode === 'down') {
        request.socket.destroy();
        return;
      }
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const seen: ServiceRequest = {
          method: request.method ?? '',
          path: request.url ?? '',
          headers: request.headers,
          rawHeaders: request.rawHeaders,
          body: Buffer.concat(chunks),
        };
        requests.push(seen);
        if (service.mode === 'mute') return;
        const { status, body } = answer(seen);
        response.writeHead(status, { 'content-type': 'application/json' }).end(body);
      });
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const service: KeyService = {
    origin: `https://localhost:${(server.address() as AddressInfo).port}`,
    requests,
    mode: 'up',
  };
  return service;
}
