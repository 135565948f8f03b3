import type { Socket } from 'node:net';
import { secretBuffer, wipe } from '../secret.ts';
import { EgressError, keyRefusal } from './egress-error.ts';
import { placeholderMark } from './placeholder.ts';
import { credentialHeaders, type Credential } from './request.ts';

/** What the call on a connection shows to the connection's socket. */
export interface Passage {
  readonly origin: string;
  readonly credential: Credential | null;
  /** Whole, and written right behind the head where it has any bytes; null where there is none, or it streams. */
  readonly body: Buffer | null;
  /** Stands in the dispatched header. Null without a credential, once used, and from the call's end on. */
  placeholder: string | null;
  /** The key that is about to be sent, printable and not empty; wiped after the write. */
  onKey(key: Uint8Array): void;
  /** The head is about to be handed to the socket. */
  onHead(): void;
}

/** Longest secret; a provider's are 40 to 200 bytes, cloud tokens some thousand. */
const maxSecretBytes = 8192;
/**
 * Bodies up to this long leave in one write with their head, and one TLS record: another write is a system call and a turn of the other
 * side, a copy of these bytes next to nothing.
 */
const maxJoinedBytes = 8192;

type Write = (chunk: unknown, encoding?: unknown, done?: unknown) => boolean;

/**
 * Makes the socket of an upstream client replace the placeholder of its current call by the key, as bytes that were never a string.
 * undici writes heads (and chunk sizes) as latin1 strings and bodies as Buffers, or strings without an encoding: only the former are
 * looked at, so nothing that a client writes into a body can open a key.
 *
 * @param socket  Fresh and connected; `origin` is its own, from the connector's options, not the request's.
 * @param current The call that the connection serves now, or null.
 */
export function injectInto(socket: Socket, origin: string, current: () => Passage | null): void {
  const plainWrite = socket.write.bind(socket) as Write;
  let inFlight: Buffer | null = null;
  /** What has left with its head, and is yet to come by itself. */
  let joined: Buffer | null = null;

  /** Nothing of the chunk leaves, and nothing after it. */
  const refuse = (error: EgressError): false => {
    socket.destroy(error);
    return false;
  };

  /** A head with the opened key in its place, and the body; or an error. In either case nobody else holds the bytes. */
  const fill = (
    head: string,
    at: number,
    placeholder: string,
    credential: Credential,
    body: Buffer | null,
  ): { bytes: Buffer; used: number; key: Buffer } => {
    const { header, maxBytes } = credential;
    if (!Number.isInteger(maxBytes) || maxBytes < 1 || maxBytes > maxSecretBytes)
      throw new EgressError('KEY_INVALID', 'The provider key is longer than a header may be.');
    const tail = head.slice(at + placeholder.length);
    const bodyBytes = body?.length ?? 0;
    const bytes = secretBuffer(at + maxBytes + tail.length + bodyBytes);
    try {
      const length = credential.openInto(bytes, at, { origin, header });
      if (!Number.isInteger(length) || length < 1 || length > maxBytes)
        throw new EgressError('KEY_INVALID', 'The provider key has no valid length.');
      // A sealed payload was made by a client, and this way goes round undici's own header checks: one CR LF would be a second request.
      for (let i = at; i < at + length; i += 1) {
        const byte = bytes[i] as number;
        if (byte < 0x21 || byte > 0x7e)
          throw new EgressError('KEY_INVALID', 'The provider key has bytes that no header may carry.');
      }
      // After the opening, so that whatever it wrote outside its place is covered or cut off.
      bytes.write(head.slice(0, at), 0, 'latin1');
      const end = at + length + bytes.write(tail, at + length, 'latin1');
      body?.copy(bytes, end);
      return { bytes, used: end + bodyBytes, key: bytes.subarray(at, at + length) };
    } catch (error) {
      wipe(bytes);
      throw error;
    }
  };

  const inject = (head: string, passage: Passage, credential: Credential, placeholder: string): boolean => {
    passage.placeholder = null; // good for one header of one request
    const line = `\r\n${credential.header}: ${credential.prefix}${placeholder}\r\n`;
    const start = head.indexOf(line);
    const at = start + line.length - placeholder.length - 2;
    const isAlone = head.indexOf(placeholderMark) === at && head.lastIndexOf(placeholderMark) === at;
    if (start < 0 || !isAlone)
      return refuse(new EgressError('KEY_INVALID', 'A placeholder stood outside its header.'));
    if (!credentialHeaders.has(credential.header))
      return refuse(new EgressError('KEY_INVALID', 'A key may not go into this header.'));
    // Behind bytes that still wait the key would wait with them, in memory that nobody wipes.
    const isReady =
      !socket.connecting &&
      !socket.destroyed &&
      socket.writable &&
      socket.writableLength === 0 &&
      !isHandshaking(socket);
    if (!isReady) return refuse(new EgressError('UPSTREAM_ERROR', 'The connection was not ready for a key.'));

    const { body } = passage;
    const isJoined =
      body !== null && body.length > 0 && body.length <= maxJoinedBytes && head.endsWith('\r\n\r\n');
    let filled: ReturnType<typeof fill>;
    try {
      if (origin !== passage.origin)
        throw new EgressError('KEY_ORIGIN', 'The connection is not to the origin of the request.');
      filled = fill(head, at, placeholder, credential, isJoined ? body : null);
    } catch (error) {
      credential.onFailed?.(error);
      return refuse(keyRefusal(error));
    }
    const { bytes, used, key } = filled;
    // A corked write is gathered by the TLS layer into memory that is freed unwiped: go out alone.
    const corked = socket.writableCorked;
    for (let n = 0; n < corked; n += 1) socket.uncork();
    inFlight = bytes;
    let hasRoom = false;
    try {
      passage.onKey(key);
      passage.onHead();
      // The callback also comes when the write fails; 'close' below covers a socket that dies without one.
      hasRoom = plainWrite(bytes.subarray(0, used), () => {
        wipe(bytes);
        if (inFlight === bytes) inFlight = null;
      });
    } catch (error) {
      wipe(bytes);
      throw error;
    } finally {
      for (let n = 0; n < corked; n += 1) socket.cork();
    }
    if (isJoined) joined = body;
    credential.onOpened?.();
    return hasRoom;
  };

  socket.write = (chunk: unknown, encoding?: unknown, done?: unknown): boolean => {
    if (joined !== null) {
      const isBody = chunk === joined;
      joined = null;
      if (isBody) return !socket.writableNeedDrain;
      return refuse(new EgressError('UPSTREAM_ERROR', 'Something else came behind a head than its body.'));
    }
    if (typeof chunk !== 'string' || encoding !== 'latin1') return plainWrite(chunk, encoding, done);
    const passage = current();
    const placeholder = passage?.placeholder ?? null;
    if (
      placeholder !== null &&
      passage !== null &&
      passage.credential !== null &&
      chunk.includes(placeholder)
    )
      return inject(chunk, passage, passage.credential, placeholder);
    // A call that waits for its key sends nothing before it, and no placeholder leaves without its call.
    if (placeholder !== null || chunk.includes(placeholderMark))
      return refuse(
        new EgressError('KEY_INVALID', 'A placeholder without a call, or a call without its placeholder.'),
      );
    passage?.onHead();
    return plainWrite(chunk, encoding, done);
  };

  socket.once('close', () => wipe(inFlight));
}

function isHandshaking(socket: Socket): boolean {
  return (socket as Socket & { secureConnecting?: boolean }).secureConnecting === true;
}
