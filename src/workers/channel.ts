/** What one end may ask of the other, by name: what goes along, and what comes back. A `tell` has no answer. */
export type Calls = Readonly<Record<string, (body: never) => unknown>>;

/** The pipe between a primary and a worker. Messages are plain data. */
export interface Pipe {
  /** Never throws; a message to somebody who is gone is lost. */
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
}

export interface Channel<Out extends Calls> {
  /** @throws when the other end fails at it, or is gone. */
  ask<K extends keyof Out & string>(
    name: K,
    body: Parameters<Out[K]>[0],
  ): Promise<Awaited<ReturnType<Out[K]>>>;
  tell<K extends keyof Out & string>(name: K, body: Parameters<Out[K]>[0]): void;
  /** The other end is gone: whoever waits for it is told. */
  close(): void;
}

type Message =
  | { readonly sallyport: 'ask'; readonly id: number; readonly name: string; readonly body: unknown }
  | { readonly sallyport: 'tell'; readonly name: string; readonly body: unknown }
  | { readonly sallyport: 'answer'; readonly id: number; readonly body: unknown }
  | { readonly sallyport: 'failure'; readonly id: number; readonly message: string };

/** Questions and answers over a pipe, in both directions. @param handlers answer what the other end asks. */
export function createChannel<Out extends Calls>(pipe: Pipe, handlers: Calls): Channel<Out> {
  const waiting = new Map<number, PromiseWithResolvers<never>>();
  let isClosed = false;
  let last = 0;

  async function handle(name: string, body: unknown): Promise<unknown> {
    const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
    if (handler === undefined) throw new Error(`nobody answers ${name}`);
    return handler(body as never);
  }

  async function answer({ body, id, name }: Message & { sallyport: 'ask' }): Promise<void> {
    try {
      pipe.send({ sallyport: 'answer', id, body: await handle(name, body) });
    } catch (error) {
      pipe.send({ sallyport: 'failure', id, message: error instanceof Error ? error.message : 'it failed' });
    }
  }

  function settle(id: number): PromiseWithResolvers<never> | undefined {
    const known = waiting.get(id);
    waiting.delete(id);
    return known;
  }

  pipe.onMessage((raw) => {
    if (typeof raw !== 'object' || raw === null || !('sallyport' in raw)) return;
    const message = raw as Message;
    if (message.sallyport === 'ask') void answer(message);
    else if (message.sallyport === 'tell') void handle(message.name, message.body).catch(() => {});
    else if (message.sallyport === 'answer') settle(message.id)?.resolve(message.body as never);
    else settle(message.id)?.reject(new Error(message.message));
  });

  return Object.freeze<Channel<Out>>({
    ask(name, body) {
      if (isClosed) return Promise.reject(new Error('the other process is gone'));
      last += 1;
      const wait = Promise.withResolvers<never>();
      waiting.set(last, wait);
      pipe.send({ sallyport: 'ask', id: last, name, body });
      return wait.promise;
    },
    tell(name, body) {
      if (!isClosed) pipe.send({ sallyport: 'tell', name, body });
    },
    close() {
      isClosed = true;
      for (const { reject } of waiting.values()) reject(new Error('the other process is gone'));
      waiting.clear();
    },
  });
}
