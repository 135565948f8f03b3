import fc from 'fast-check';
import t from 'tap';
import { closeFrame, FrameReader, textFrame } from '../../src/dialects/realtime-frames.ts';

const mask = Buffer.from([1, 2, 3, 4]);
const roomy = { maxMessageBytes: 1 << 24, maxKeptBytes: 1 << 20 };

/** A frame as the RFC draws it, right or wrong. */
function frame(first: number, payload: string | Buffer, masked = false, length = payload.length): Buffer {
  const head =
    length < 126
      ? Buffer.from([first, length])
      : length < 65_536
        ? Buffer.from([first, 126, length >> 8, length & 255])
        : Buffer.from([first, 127, 0, 0, 0, 0, ...uint32(length)]);
  if (!masked) return Buffer.concat([head, Buffer.from(payload)]);
  head[1] = (head[1] as number) | 0x80;
  return Buffer.concat([head, mask, Buffer.from(payload).map((byte, i) => byte ^ (mask[i & 3] as number))]);
}

function uint32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
}

/** Messages in fragments, with pings in between, and what they say. */
const wires = fc
  .array(
    fc.record({
      parts: fc.array(fc.string({ maxLength: 300 }), { minLength: 1, maxLength: 4 }),
      isPinged: fc.boolean(),
    }),
    { maxLength: 5 },
  )
  .chain((messages) =>
    fc.tuple(
      fc.constant(messages),
      fc.boolean(),
      fc.boolean(),
      fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
    ),
  );

t.test('however the bytes are split, the same bytes go on and the same messages are read', async () => {
  fc.assert(
    fc.property(wires, ([messages, isMasked, isHolding, sizes]) => {
      const wire = Buffer.concat([
        ...messages.flatMap(({ parts, isPinged }) =>
          parts.flatMap((part, i) => [
            frame((i === parts.length - 1 ? 0x80 : 0) | (i === 0 ? 1 : 0), Buffer.from(part), isMasked),
            ...(isPinged ? [frame(0x89, 'ping', isMasked)] : []),
          ]),
        ),
        closeFrame(4001, 'enough', isMasked ? mask : null),
      ]);
      const read: string[] = [];
      const reader = new FrameReader(
        {
          ...roomy,
          isMasked,
          onMessage(payload) {
            read.push(String(payload));
            return null;
          },
        },
        isHolding,
      );
      const passed: Buffer[] = [];
      for (let at = 0; at < wire.length;) {
        const size = sizes.next().value as number;
        const { passed: now, fault } = reader.push(Buffer.from(wire.subarray(at, at + size)));
        if (fault !== null) throw new Error(fault.reason);
        passed.push(...now);
        at += size;
        // What has gone on ends where a head may follow, or within the payload of a frame.
        if (isHolding && reader.place !== 'message') throw new Error('a part of a message went on');
      }
      return (
        Buffer.concat(passed).equals(wire) &&
        reader.closeCode === 4001 &&
        JSON.stringify(read) === JSON.stringify(messages.map(({ parts }) => parts.join('')))
      );
    }),
    { numRuns: 300 },
  );
});

t.test('a frame that breaks the rules goes on not at all, and nothing after it', async (t) => {
  const good = frame(0x81, 'good');
  const wrongs: readonly (readonly [name: string, code: number, bytes: Buffer, before?: Buffer])[] = [
    ['a reserved bit', 1002, frame(0xc1, 'x')],
    ['a reserved opcode', 1002, frame(0x83, 'x')],
    ['a reserved control opcode', 1002, frame(0x8b, 'x')],
    ['a masked frame of a server', 1002, frame(0x81, 'x', true)],
    ['a ping in fragments', 1002, frame(0x09, 'x')],
    ['a ping of 126 bytes', 1002, frame(0x89, 'x'.repeat(126))],
    ['half a close code', 1002, frame(0x88, 'x')],
    ['a continuation of nothing', 1002, frame(0x80, 'x')],
    ['a message within a message', 1002, frame(0x81, 'x'), frame(0x01, 'begun')],
    ['a length with its highest bit set', 1002, Buffer.from([0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 1])],
    ['1 GB announced', 1009, frame(0x81, '', false, 1 << 30)],
    ['1 GB in continuations', 1009, frame(0x80, '', false, roomy.maxMessageBytes), frame(0x01, 'begun')],
  ];
  for (const [name, code, wrong, before = Buffer.alloc(0)] of wrongs) {
    for (const size of [1, 3, 1 << 20]) {
      const reader = new FrameReader({ ...roomy, isMasked: false });
      const wire = Buffer.concat([good, before, wrong, good]);
      const passed: Buffer[] = [];
      let closeCode = 0;
      for (let at = 0; at < wire.length; at += size) {
        const read = reader.push(wire.subarray(at, at + size));
        passed.push(...read.passed);
        closeCode = read.fault?.closeCode ?? closeCode;
      }
      t.same(Buffer.concat(passed), Buffer.concat([good, before]), `${name}, ${size} bytes at a time`);
      t.equal(closeCode, code, name);
    }
  }
  const unmasked = new FrameReader({ ...roomy, isMasked: true }).push(good);
  t.match(unmasked, { passed: [], fault: { closeCode: 1002 } }, 'an unmasked frame of a client');
});

t.test('where one stands is known after every piece', async (t) => {
  const reader = new FrameReader({ ...roomy, isMasked: false });
  const places = [];
  for (const bytes of [[0x01], [0x02], [0x61], [0x62], [0x89, 0], [0x80], [0x01, 0x63]]) {
    reader.push(Buffer.from(bytes));
    places.push(reader.place);
  }
  t.same(places, ['message', 'inside', 'inside', 'frame', 'frame', 'frame', 'message']);
});

t.test(
  'a message longer than what is kept is let go unread, or ends it, as the reader is told',
  async (t) => {
    const long = frame(0x81, 'x'.repeat(2000));
    const heard: (Buffer | null)[] = [];
    const options = { isMasked: false, maxMessageBytes: 1 << 24, maxKeptBytes: 1000 };
    const lenient = new FrameReader(
      { ...options, onMessage: (payload) => void heard.push(payload) as never },
      true,
    );
    const passed = [long.subarray(0, 700), long.subarray(700), textFrame(Buffer.from('next'))].flatMap(
      (piece) => lenient.push(piece).passed,
    );
    t.same(Buffer.concat(passed), Buffer.concat([long, textFrame(Buffer.from('next'))]));
    t.equal(heard[0], null);
    t.same(heard.at(-1), Buffer.from('next'));
    const fault = { closeCode: 1008, reason: 'no' };
    const strict = new FrameReader({ ...options, onMessage: () => fault }, true);
    t.same(strict.push(long), { passed: [], fault });
    t.equal(strict.place, 'message', 'nothing of it went on');

    const pings = new FrameReader({ ...options, onMessage: () => fault }, true);
    pings.push(frame(0x01, 'begun'));
    let held = 0;
    while (pings.push(frame(0x89, 'x'.repeat(100))).fault === null) held += 100;
    t.ok(held <= 2000, 'pings within a message that is held do not pile up');
  },
);

t.test('a message of empty frames that waits for its verdict is held in few pieces', async (t) => {
  const judged: number[] = [];
  const reader = new FrameReader(
    {
      ...roomy,
      isMasked: false,
      onMessage(payload) {
        judged.push(payload?.length ?? -1);
        return null;
      },
    },
    true,
  );
  const empty = frame(0x00, '');
  const wire = Buffer.concat([
    frame(0x01, 'a'),
    ...Array.from({ length: 100_000 }, () => empty),
    frame(0x80, 'b'),
  ]);
  const { passed, fault } = reader.push(wire);
  t.equal(fault, null);
  t.same(judged, [2]);
  t.ok(Buffer.concat(passed).equals(wire));
  t.ok(passed.length < 2000, `${passed.length} pieces`);
});
