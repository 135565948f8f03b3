/** RFC 9112, 7.1: the chunk of no bytes, without trailers. */
export const lastChunk = Buffer.from('0\r\n\r\n');

/** @param bytes at least one @returns them as one chunk of `transfer-encoding: chunked` (RFC 9112, 7.1), a copy */
export function frameChunk(bytes: Buffer): Buffer {
  const size = bytes.length.toString(16);
  const frame = Buffer.allocUnsafe(size.length + bytes.length + 4);
  let at = frame.write(size, 'latin1');
  at = frame.writeUInt16BE(0x0d0a, at);
  at += bytes.copy(frame, at);
  frame.writeUInt16BE(0x0d0a, at);
  return frame;
}
