import { Agent, request } from 'node:http';

/** An answer whose head a client holds, however it ended. */
export interface Held {
  readonly model: string;
  readonly status: number;
  /** x-sallyport-code; empty in an answer that is none of an error. */
  readonly code: string;
  /** x-request-id */
  readonly id: string;
  /** x-sallyport-receipt */
  readonly receipt: string;
  isWhole: boolean;
}

export interface Crowd {
  readonly held: readonly Held[];
  /** Resolves when n answers have begun. */
  begun(n: number): Promise<void>;
  /** From now on a failed call is no surprise, and the last one of its client. */
  expectEnd(): void;
  /** Every client has made its last call. @throws when a call failed before `expectEnd`. */
  readonly gone: Promise<unknown>;
}

/** Clients that each make one call after another, every other one streamed; each call asks for a model of its own. */
export function startCrowd(
  to: { readonly origin: string; readonly token: string },
  clients: number,
  nameCall: (n: number) => string,
): Crowd {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const held: Held[] = [];
  const waiting: { n: number; done: () => void }[] = [];
  let calls = 0;
  const ending = new AbortController();

  const callOnce = (model: string, isStream: boolean): Promise<void> => {
    const body = JSON.stringify({ model, stream: isStream, messages: [{ role: 'user', content: 'Count' }] });
    return new Promise((resolve, reject) => {
      const call = request(
        `${to.origin}/v1/chat/completions`,
        {
          method: 'POST',
          agent,
          headers: {
            authorization: `Bearer ${to.token}`,
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          },
        },
        (answer) => {
          const text = (name: string): string => String(answer.headers[name] ?? '');
          const mine: Held = {
            model,
            status: answer.statusCode ?? 0,
            code: text('x-sallyport-code'),
            id: text('x-request-id'),
            receipt: text('x-sallyport-receipt'),
            isWhole: false,
          };
          held.push(mine);
          for (const { n, done } of waiting) if (held.length >= n) done();
          answer.on('error', reject).resume();
          answer.on('end', () => {
            mine.isWhole = answer.complete;
            resolve();
          });
        },
      );
      call.on('error', reject);
      call.end(body);
    });
  };
  const client = async (): Promise<void> => {
    for (;;) {
      calls += 1;
      const n = calls;
      try {
        await callOnce(nameCall(n), n % 2 === 0);
      } catch (error) {
        if (!ending.signal.aborted) throw error;
        return;
      }
    }
  };
  const gone = Promise.all(Array.from({ length: clients }, client)).finally(() => agent.destroy());
  gone.catch(() => {}); // whoever awaits `begun` first hears of it there
  return Object.freeze<Crowd>({
    held,
    begun: (n) =>
      Promise.race([
        gone,
        held.length >= n
          ? undefined
          : new Promise<void>((done) => {
              waiting.push({ n, done });
            }),
      ]).then(() => {}),
    expectEnd() {
      ending.abort();
    },
    gone,
  });
}
