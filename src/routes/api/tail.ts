import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import type { TailSink } from '../../admin/tails.ts';

/** Server-sent events (WHATWG HTML, 9.2), written by whoever `open` hands the sink to, until the client leaves or is ended. */
export async function sendTail(
  reply: FastifyReply,
  open: (sink: TailSink) => Promise<() => void>,
): Promise<FastifyReply> {
  let onRead: (() => void) | null = null;
  const body = new Readable({
    read() {
      onRead?.();
      onRead = null;
    },
  });
  // A proxy that waits for a whole buffer would hold back the first events.
  body.push('retry: 2000\n\n');
  const leave = await open({
    write(text) {
      if (!body.destroyed) body.push(text);
      return body.readableLength;
    },
    drained: () =>
      body.destroyed || body.readableLength < body.readableHighWaterMark
        ? Promise.resolve()
        : new Promise((resolve) => (onRead = resolve)),
    end: (isCut) => void (isCut ? body.destroy() : body.push(null)),
  });
  body.once('close', () => {
    onRead?.();
    leave();
  });
  return reply.type('text/event-stream').header('x-accel-buffering', 'no').send(body);
}
