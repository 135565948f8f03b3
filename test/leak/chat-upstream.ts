import type { Test } from 'tap';
import { WebSocketServer } from 'ws';
import { type Gate, scriptUpstream, type Upstream } from '../support/upstream.ts';

const usage = { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 };
const head = { id: 'chatcmpl-1', created: 0, model: 'gpt-4o-mini' };

function chunk(rest: object): string {
  return JSON.stringify({ ...head, object: 'chat.completion.chunk', ...rest });
}

const first = chunk({
  choices: [{ index: 0, delta: { role: 'assistant', content: 'Hi' }, finish_reason: null }],
});
const rest = [
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  chunk({ choices: [], usage }),
  '[DONE]',
];
const message = { role: 'assistant', content: 'Hi there', refusal: null };
const whole = {
  ...head,
  object: 'chat.completion',
  choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }],
  usage,
};

export interface ChatUpstream extends Upstream {
  /** From now on answers stop half way (streams after an event, others before their head) until the returned function is called. */
  stall(): () => void;
}

/** OpenAI's chat completions over TLS at https://localhost, for whoever brings the key, and sessions of one message over a WebSocket. */
export async function chatUpstream(
  t: Pick<Test, 'teardown'>,
  key: string,
  tls: true | 'renewed' = true,
): Promise<ChatUpstream> {
  let gate: Gate = Promise.resolve();
  const sessions = new WebSocketServer({ noServer: true });
  const upstream = await scriptUpstream(t, {
    onUpgrade: (message, socket, head) =>
      sessions.handleUpgrade(message, socket, head, (session) => session.send('{"type":"session.created"}')),
    tls,
    host: 'localhost',
    key,
    script: ({ body }) => {
      const isStream = (JSON.parse(body.toString('utf8')) as { stream?: boolean }).stream === true;
      return isStream ? { events: [first, gate, ...rest] } : { hold: gate, body: whole };
    },
  });
  return Object.assign(Object.create(upstream) as Upstream, {
    stall() {
      const held = Promise.withResolvers<void>();
      gate = held.promise;
      return () => {
        gate = Promise.resolve();
        held.resolve();
      };
    },
  });
}
