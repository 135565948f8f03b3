/** Printable bytes that both processes can make and that no source text holds; in memory of their own, and only there. */
export function marker(bytes: number, purpose: string): Buffer {
  const made = Buffer.from(new ArrayBuffer(bytes));
  for (let i = 0; i < bytes; i += 1) {
    const byte = 0x41 + ((i * i * 7 + i * 3 + purpose.length) % 57);
    made[i] = byte === 0x5c ? 0x5b : byte;
  }
  return made;
}
