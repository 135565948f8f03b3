import { chatPath } from './cases.ts';

/** A client's call as it goes over the wire: what SDKs send, and no more. */
export function requestBytes(
  { port, token }: { readonly port: number; readonly token: string },
  body: Buffer,
): Buffer {
  const head = [
    `POST ${chatPath} HTTP/1.1`,
    `host: 127.0.0.1:${port}`,
    `authorization: Bearer ${token}`,
    'content-type: application/json',
    'accept: application/json',
    'user-agent: OpenAI/JS 7.57.0',
    `content-length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
}
