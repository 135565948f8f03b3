/** Printable bytes that both processes can make and that no source text holds. */
export function marker(bytes: number, purpose: string): Buffer {
  const made = Buffer.from(new ArrayBuffer(bytes));
  for (let i = 0; i < bytes; i += 1) made[i] = 0x41 + ((i * i * 7 + i * 3 + purpose.length) % 57);
  return made.map((byte) => (byte === 0x5c ? 0x5b : byte)) as Buffer;
}
