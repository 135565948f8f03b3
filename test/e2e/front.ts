import { once } from 'node:events';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** One request as it was answered. */
export interface Counted {
  readonly status: number;
  /** The gateway's own, before anything was added. */
  readonly headers: http.IncomingHttpHeaders;
}

export interface Front {
  readonly origin: string;
  readonly answers: readonly Counted[];
}

/**
 * Stands before a gateway and counts what an SDK really sends. To errors it adds `retry-after-ms: 1`, which SDKs that repeat a request
 * take instead of waiting seconds; everything else goes through as it is.
 *
 * @param options.isDeafTo a header of the gateway's that the SDK doesn't get to see.
 */
export async function startFront(
  t: Test,
  target: string,
  options: { readonly isDeafTo?: string } = {},
): Promise<Front> {
  const answers: Counted[] = [];
  const { hostname, port } = new URL(target);
  const agent = new http.Agent({ keepAlive: true });
  const server = http.createServer((request, response) => {
    const onward = http.request({
      agent,
      hostname,
      port,
      method: request.method,
      path: request.url,
      headers: request.rawHeaders,
    });
    onward.on('response', (answer) => {
      const status = answer.statusCode ?? 0;
      answers.push({ status, headers: answer.headers });
      const hurry = status >= 400 ? ['retry-after-ms', '1'] : [];
      const told = answer.rawHeaders.filter(
        (_, i, all) => all[i - (i % 2)]?.toLowerCase() !== options.isDeafTo,
      );
      response.writeHead(status, [...told, ...hurry]);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
    agent.destroy();
  });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answers,
  };
}
