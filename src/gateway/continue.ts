import type { ServerResponse } from 'node:http';

/**
 * Says `100 Continue` to a client that waits for it, once its answer's turn has come: before, Node would keep it, and write it behind the
 * head of the final answer. An answer that has begun by then says enough.
 *
 * @param said called with it
 */
export function sayContinue(response: ServerResponse, said: () => void = () => {}): void {
  if (response.socket === null) {
    response.once('socket', () => {
      if (!response.headersSent && !response.destroyed) sayContinue(response, said);
    });
    return;
  }
  response.writeContinue();
  said();
}
