import { once } from 'node:events';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** What the stand-in would charge for: the demo's other set of books. */
export interface Bill {
  calls: number;
  inputTokens: number;
  cachedInputTokens: number;
  outputTokens: number;
}

export interface StandIn {
  readonly origin: string;
  readonly bill: Readonly<Bill>;
  /** Authorization headers of all requests so far. */
  readonly credentials: readonly string[];
  /** Was this text in any header, path or body that arrived? */
  hasSeen(text: string): boolean;
  /** Milliseconds between the first and last chunk of the latest stream, and when the last one left. */
  readonly stream: { readonly spanMs: number; readonly lastAt: number };
  close(): Promise<void>;
}

const answer =
  'A sally port has two doors , and they are never open at once . Your key came in through the first and stays in the vault ; a call takes it out through the second , to its provider alone , and every opening is written down .'.split(
    ' ',
  );
const gapMs = 35;
const maxBodyBytes = 1024 * 1024;
const maxRecordBytes = 8 * 1024 * 1024;

/** A provider of its own: OpenAI's chat completions for whoever brings `key`, 401 for everyone else. */
export async function startStandIn(key: string): Promise<StandIn> {
  const bill: Bill = { calls: 0, inputTokens: 0, cachedInputTokens: 0, outputTokens: 0 };
  const credentials: string[] = [];
  const stream = { spanMs: 0, lastAt: 0 };
  let record = '';

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const authorization = request.headers.authorization ?? '';
    if (record.length < maxRecordBytes) {
      credentials.push(authorization);
      record += `${request.method} ${request.url}\n${request.rawHeaders.join('\n')}\n${body}\n`;
    }
    if (authorization !== `Bearer ${key}`) {
      const message = `Incorrect API key provided: ${authorization.slice(7, 15)}***.`;
      return sendJson(response, 401, {
        error: { message, type: 'invalid_request_error', param: null, code: 'invalid_api_key' },
      });
    }
    if (request.method === 'GET' && request.url === '/v1/models') {
      return sendJson(response, 200, {
        object: 'list',
        data: [{ id: 'gpt-4o-mini', object: 'model', created: 0, owned_by: 'stand-in' }],
      });
    }
    if (request.method !== 'POST' || request.url !== '/v1/chat/completions') {
      return sendJson(response, 404, {
        error: { message: 'Not served here.', type: 'invalid_request_error', param: null, code: null },
      });
    }
    const ask = JSON.parse(body) as {
      model?: string;
      stream?: boolean;
      stream_options?: { include_usage?: boolean };
    };
    const usage = usageOf(body);
    bill.calls += 1;
    bill.inputTokens += usage.prompt_tokens;
    bill.cachedInputTokens += usage.prompt_tokens_details.cached_tokens;
    bill.outputTokens += usage.completion_tokens;
    const head = {
      id: `chatcmpl-${bill.calls}`,
      created: Math.floor(Date.now() / 1000),
      model: ask.model ?? 'gpt-4o-mini',
    };
    if (ask.stream !== true) {
      const message = { role: 'assistant', content: textOf(), refusal: null };
      const choices = [{ index: 0, message, logprobs: null, finish_reason: 'stop' }];
      return sendJson(response, 200, { ...head, object: 'chat.completion', choices, usage });
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    const send = (rest: object) =>
      response.write(`data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', ...rest })}\n\n`);
    const firstAt = performance.now();
    for (const [i, word] of answer.entries()) {
      const content = i === 0 || /^[.,;]$/.test(word) ? word : ` ${word}`;
      send({
        choices: [
          { index: 0, delta: i === 0 ? { role: 'assistant', content } : { content }, finish_reason: null },
        ],
      });
      await pause(gapMs);
      if (response.destroyed) return;
    }
    send({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
    if (ask.stream_options?.include_usage === true) send({ choices: [], usage });
    stream.lastAt = performance.now();
    stream.spanMs = stream.lastAt - firstAt;
    response.end('data: [DONE]\n\n');
  }

  const server: Server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return Object.freeze({
    origin: `http://127.0.0.1:${port}`,
    bill,
    credentials,
    hasSeen: (text: string) => record.includes(text),
    stream,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close').catch(() => {});
    },
  });
}

/** A third of a prompt is called cached, so that the books have something to get wrong. */
function usageOf(body: string) {
  const prompt = Math.max(9, Math.ceil(body.length / 4));
  return {
    prompt_tokens: prompt,
    completion_tokens: answer.length,
    total_tokens: prompt + answer.length,
    prompt_tokens_details: { cached_tokens: Math.floor(prompt / 3) },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

function textOf(): string {
  return answer.join(' ').replaceAll(/ ([.,;])/g, '$1');
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes) throw new Error('body too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
