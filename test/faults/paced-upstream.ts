import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Test } from 'tap';

export interface PacedUpstream {
  readonly origin: string;
  /** Requests whose head has come in, whatever became of them. */
  readonly heads: number;
  /** The model of each request whose body has come in. */
  readonly models: readonly string[];
}

const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const words = ['one ', 'two ', 'three'];
const chunk = (rest: object): string =>
  `data: ${JSON.stringify({ object: 'chat.completion.chunk', id: 'c', ...rest })}\n\n`;

/**
 * OpenAI's chat completions at the pace of a provider: each part of an answer comes some milliseconds after the one before, so that
 * a kill finds calls in every state.
 *
 * @param random gives each pause its length
 */
export async function pacedUpstream(
  t: Pick<Test, 'teardown'>,
  key: string,
  random: () => number,
): Promise<PacedUpstream> {
  let heads = 0;
  const models: string[] = [];
  const breath = (): Promise<void> => pause(random() * 8);

  async function answer(body: string, to: ServerResponse): Promise<void> {
    const { model, stream } = JSON.parse(body) as { model: string; stream: boolean };
    models.push(model);
    await breath();
    if (!stream) {
      const choices = [{ index: 0, message: { role: 'assistant', content: 'one' }, finish_reason: 'stop' }];
      to.writeHead(200, { 'content-type': 'application/json' });
      to.end(JSON.stringify({ object: 'chat.completion', choices, usage }));
      return;
    }
    to.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const content of words) {
      to.write(chunk({ choices: [{ index: 0, delta: { content } }] }));
      await breath();
    }
    to.write(chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }));
    to.write(chunk({ choices: [], usage }));
    to.end('data: [DONE]\n\n');
  }

  const server = createServer((request, response) => {
    heads += 1;
    const chunks: Buffer[] = [];
    request.on('error', () => {}).on('data', (part: Buffer) => void chunks.push(part));
    response.on('error', () => {});
    request.on('end', () => {
      if (request.headers.authorization === `Bearer ${key}`)
        void answer(Buffer.concat(chunks).toString('utf8'), response);
      else response.writeHead(401).end();
    });
  });
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return Object.freeze({
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get heads() {
      return heads;
    },
    models,
  });
}
