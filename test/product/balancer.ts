import { once } from 'node:events';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { ask } from '../support/http-client.ts';

/** As an operator would configure it. */
const check = { intervalMs: 250, fall: 2, rise: 1 } as const;

export interface Balancer {
  readonly origin: string;
  isUp(node: string): boolean;
  /** Resolves when the node is taken to be up, or down. */
  seen(node: string, isUp: boolean): Promise<void>;
}

interface Node {
  readonly origin: string;
  readonly agent: http.Agent;
  isUp: boolean;
  /** Checks in a row that said otherwise. */
  contrary: number;
}

/**
 * A load balancer that hides nothing: it asks `/readyz`, keeps connections alive, takes nodes in turn, and tries nothing twice. What a
 * node does not answer is a 502.
 */
export async function startBalancer(
  t: Pick<Test, 'teardown'>,
  origins: readonly string[],
): Promise<Balancer> {
  const nodes = origins.map((origin): Node => ({
    origin,
    agent: new http.Agent({ keepAlive: true }),
    isUp: false,
    contrary: 0,
  }));
  const waiting = new Set<() => void>();
  let turn = 0;

  async function look(node: Node): Promise<void> {
    const isReady = await ask(`${node.origin}/readyz`).then(
      ({ status }) => status === 200,
      () => false,
    );
    node.contrary = isReady === node.isUp ? 0 : node.contrary + 1;
    if (node.contrary < (node.isUp ? check.fall : check.rise)) return;
    node.isUp = isReady;
    node.contrary = 0;
    for (const wake of waiting) wake();
  }

  function serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const up = nodes.filter(({ isUp }) => isUp);
    turn += 1;
    const node = up[turn % Math.max(1, up.length)];
    const failed = (reason: string): void => {
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end(`${node?.origin ?? 'no node'}: ${reason}`);
    };
    if (node === undefined) return failed('none is up');
    const { host: _host, connection: _connection, ...headers } = request.headers;
    const onward = http.request(node.origin + (request.url ?? ''), {
      method: request.method ?? 'GET',
      agent: node.agent,
      headers,
    });
    onward.on('error', (error) => failed(`${(error as NodeJS.ErrnoException).code} ${error.message}`));
    onward.on('response', (answer) => {
      const { connection: _close, 'keep-alive': _kept, ...kept } = answer.headers;
      response.writeHead(answer.statusCode ?? 502, kept);
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    request.pipe(onward);
  }

  const server = http.createServer({ noDelay: true }, serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const checks = nodes.map((node) => setInterval(() => void look(node), check.intervalMs));
  t.teardown(() => {
    for (const each of checks) clearInterval(each);
    for (const { agent } of nodes) agent.destroy();
    server.close();
    server.closeAllConnections();
  });
  const isUp = (origin: string): boolean => nodes.find((node) => node.origin === origin)?.isUp === true;
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    isUp,
    seen: (origin, wanted) =>
      new Promise((resolve) => {
        const wake = (): void => {
          if (isUp(origin) !== wanted) return;
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
        wake();
      }),
  };
}
