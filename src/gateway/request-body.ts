import type { IncomingMessage } from 'node:http';
import { Transform, type Readable } from 'node:stream';
import { SallyportError } from '../errors.ts';
import { giveBack, largeBytes } from '../memory.ts';
import type { BodyShare } from './body-budget.ts';
import { keepPace, type Pace } from './body-pace.ts';

/** `json` is read whole, because its model decides; `coded` is the same compressed; `opaque` (multipart, binary) streams through unread. */
export type BodyKind = 'none' | 'json' | 'coded' | 'opaque';

export function bodyKind(request: IncomingMessage): BodyKind {
  const { headers } = request;
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  if (!hasBody) return 'none';
  const type = headers['content-type'];
  if (type !== undefined && !/^application\/(?:[\w.-]+\+)?json\b/i.test(type)) return 'opaque';
  const coding = headers['content-encoding'];
  return coding === undefined || /^(?:identity)?$/i.test(coding) ? 'json' : 'coded';
}

/** @throws {SallyportError} BODY_TOO_LARGE, by the announced length. */
export function checkLength(request: IncomingMessage, maxBytes: number): void {
  if (announcedLength(request) > maxBytes) throw tooLarge(maxBytes);
}

/** Bytes; 0 where none is announced. */
export function announcedLength(request: IncomingMessage): number {
  return Number(request.headers['content-length'] ?? 0);
}

/** Pieces that are joined at once: a client who sends bytes one by one would otherwise have us hold a Buffer for each. */
const maxPieces = 1024;

/**
 * Reads a body whole.
 *
 * @param share what it takes of the memory for all bodies, until the call ends or its stream begins
 * @throws {SallyportError} BODY_TOO_LARGE; REQUEST_TIMEOUT; RATE_LIMITED for too much at once; CLIENT_CLOSED where the client went away in the middle.
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
  share: Pick<BodyShare, 'take'>,
  pace: Pace,
): Promise<Buffer> {
  const { bytes } = await readUntil(request, share, pace, (read) => {
    if (read > maxBytes) throw tooLarge(maxBytes);
    return false;
  });
  return bytes;
}

/**
 * The first bytes of a body: `enough` and what came with them, or all of it where it has less. The rest stays in the request, which
 * stands still.
 */
export function readStart(
  request: IncomingMessage,
  enough: number,
  share: Pick<BodyShare, 'take'>,
  pace: Pace,
): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }> {
  return readUntil(request, share, pace, (read) => read >= enough);
}

function readUntil(
  request: IncomingMessage,
  share: Pick<BodyShare, 'take'>,
  pace: Pace,
  isEnough: (read: number) => boolean,
): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }> {
  return new Promise((resolve, reject) => {
    /** Joined pieces, each joined once only, and those that came since. */
    const joined: Buffer[] = [];
    let pieces: Buffer[] = [];
    let read = 0;
    const stop = (): void => {
      endPace();
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
    };
    const settle = (isWhole: boolean): void => {
      stop();
      const all = [...joined, ...pieces];
      if (all.length === 1) return resolve({ bytes: all[0] as Buffer, isWhole });
      const bytes = Buffer.concat(all, read);
      // Where the end has not come, Node's parser may still be at work in the last one.
      if (isWhole) for (const piece of all) if (piece.length >= largeBytes) giveBack(piece);
      resolve({ bytes, isWhole });
    };
    const fail = (error: Error): void => {
      stop();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      read += chunk.length;
      try {
        const isOver = isEnough(read);
        share.take(chunk.length);
        pieces.push(chunk);
        if (isOver) {
          request.pause();
          return settle(false);
        }
      } catch (error) {
        return fail(error as SallyportError);
      }
      if (pieces.length < maxPieces) return;
      joined.push(Buffer.concat(pieces));
      pieces = [];
    };
    const onEnd = (): void => settle(true);
    const onClose = (): void => fail(clientGone());
    // He may have left while his token was looked at: a request that is destroyed says nothing any more.
    if (request.destroyed) return reject(clientGone());
    // Most bodies came with their head.
    const endPace = request.complete
      ? () => {}
      : keepPace(pace, { bytes: () => read, wasHeldBack: () => false }, fail);
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/** A body that streams through; it can be sent once. */
export interface Upload extends Readable {
  readonly bytesSeen: number;
  /** Bytes that it is longer by than the body that came. */
  readonly lengthChange: number;
}

/** The body as a stream with bounds: past them it fails with BODY_TOO_LARGE or REQUEST_TIMEOUT, and so does the call. */
export function boundedUpload(
  request: IncomingMessage,
  maxBytes: number,
  pace: Pace,
  lengthChange = 0,
): Upload {
  let bytes = 0;
  let wasHeldBack = false;
  const upload = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > maxBytes) done(tooLarge(maxBytes));
      else done(null, chunk);
    },
  });
  // Not by `pipeline`: it would destroy the request with the upload, and with it the socket that the answer has to take.
  request.pipe(upload);
  const onGone = (): void => {
    if (!request.complete) upload.destroy(clientGone());
  };
  const coming = {
    bytes: () => bytes,
    wasHeldBack: () => {
      const was = wasHeldBack;
      wasHeldBack = request.isPaused();
      return was || request.complete;
    },
  };
  const endPace = keepPace(pace, coming, (error) => upload.destroy(error));
  request.once('end', endPace);
  // The error reaches whoever reads `upload`; here it only must not be thrown.
  upload
    .on('error', () => {})
    .on('close', () => {
      endPace();
      request.off('close', onGone);
    });
  request
    .on('close', onGone)
    .on('error', () => {})
    // Nobody takes it yet, or not as fast as it comes.
    .on('pause', () => {
      wasHeldBack = true;
    });
  if (request.destroyed) onGone();
  return Object.defineProperties(upload, {
    bytesSeen: { get: () => bytes },
    lengthChange: { value: lengthChange },
  }) as Transform & Upload;
}

function clientGone(): SallyportError {
  return new SallyportError('CLIENT_CLOSED', 'The client went away while it was sending.');
}

function tooLarge(maxBytes: number): SallyportError {
  return new SallyportError(
    'BODY_TOO_LARGE',
    `The body is larger than the ${maxBytes} bytes that this gateway takes.`,
  );
}
