import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { WebSocket } from 'ws';

export interface Asking {
  readonly origin: string;
  readonly token: string;
  readonly model: string;
  readonly isStream: boolean;
}

/** A client's call and its whole answer. @throws when the answer breaks off. */
export function ask(
  agent: Agent,
  { origin, token, model, isStream }: Asking,
): Promise<{ status: number; text: string }> {
  const body = JSON.stringify({ model, stream: isStream, messages: [{ role: 'user', content: 'Hello' }] });
  return new Promise((resolve, reject) => {
    const call = request(
      `${origin}/v1/chat/completions`,
      {
        method: 'POST',
        agent,
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => void chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () =>
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}

/**
 * Makes calls, so many of them at once, every other one streamed, the models in turn.
 *
 * @throws on the first answer that is not a whole 200.
 */
export async function askMany(
  target: Pick<Asking, 'origin' | 'token'> & { readonly models: readonly string[] },
  { calls, parallel }: { readonly calls: number; readonly parallel: number },
): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: parallel });
  let next = 0;
  const one = async (): Promise<void> => {
    while (next < calls) {
      const n = next;
      next += 1;
      const isStream = n % 2 === 0;
      const model = target.models[(n >> 1) % target.models.length] as string;
      let { status, text } = await ask(agent, { ...target, model, isStream });
      // On a busy machine a gateway that has just started may be a second behind its database: it says to ask again.
      for (let left = 20; status === 503 && left > 0; left -= 1)
        ({ status, text } = await ask(agent, { ...target, model, isStream }));
      if (status !== 200 || !text.includes(isStream ? '[DONE]' : 'chat.completion'))
        throw new Error(`call ${n}: ${status} ${text.slice(0, 300)}`);
    }
  };
  try {
    await Promise.all(Array.from({ length: parallel }, one));
  } finally {
    agent.destroy();
  }
}

/** Sessions over a WebSocket, each of which has heard its first message, to a known provider and a custom one in turn. */
export async function openSessions(
  { origin, token }: Pick<Asking, 'origin' | 'token'>,
  count: number,
): Promise<readonly WebSocket[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const path = n % 2 === 0 ? '/v1/realtime?model=gpt-realtime' : '/custom/lab/v1/realtime';
      const session = new WebSocket(origin.replace('http', 'ws') + path, {
        headers: { authorization: `Bearer ${token}` },
      });
      await once(session, 'message');
      return session;
    }),
  );
}
