import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { Gathering } from '../../src/gateway/gathering.ts';
import { startGateway } from '../support/gateway.ts';
import { rawUpstream, type Play } from '../support/raw-upstream.ts';

const key = 'sk-test-gathering-0123456789abcdef';
const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const end = '0\r\n\r\n';
const event = (data: string): string => `data: ${data}\n\n`;
const framed = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, i) =>
    event(JSON.stringify({ choices: [{ delta: { content: `word ${i}` } }] })),
  );

let play: Play = () => {};
const upstream = await rawUpstream(t, () => ({ play: (...seen) => play(...seen) }));
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);

/** A client that sees the frames of HTTP, which every library hides. */
function stream(): { readonly socket: Socket; text(): string; until(part: string): Promise<void> } {
  const socket = connect(Number(new URL(gateway.origin).port), '127.0.0.1');
  const body = JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [] });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer ${gateway.token}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
  let text = '';
  socket.setEncoding('latin1').on('data', (part: string) => (text += part));
  return {
    socket,
    text: () => text,
    async until(part) {
      while (!text.includes(part)) await once(socket, 'data');
    },
  };
}

/** The frames' contents, without the last, which is empty. */
function framesOf(answer: string): string[] {
  const frames: string[] = [];
  for (let rest = answer.slice(answer.indexOf('\r\n\r\n') + 4); rest !== '';) {
    const at = rest.indexOf('\r\n');
    const length = Number.parseInt(rest.slice(0, at), 16);
    if (!(length > 0)) break;
    frames.push(rest.slice(at + 2, at + 2 + length));
    rest = rest.slice(at + 4 + length);
  }
  return frames;
}

t.test('events that come together leave together, and not a byte of them differs', async (t) => {
  const events = [...numbered(40), event('[DONE]')];
  play = (socket) => void socket.write(head + events.map(framed).join('') + end);
  const client = stream();
  await once(client.socket, 'close');
  const frames = framesOf(client.text());
  t.equal(frames.join(''), events.join(''));
  t.ok(frames.length <= 2, `${frames.length} frames of 41 events`);
  t.ok(client.text().endsWith(end), 'and it looks whole');
});

t.test('an event that comes alone waits for nothing, nor does a head', async (t) => {
  const client = Promise.withResolvers<ReturnType<typeof stream>>();
  play = async (socket) => {
    socket.write(head);
    const asking = await client.promise;
    await asking.until('\r\n\r\n');
    for (const one of numbered(5)) {
      socket.write(framed(one));
      await asking.until(one);
    }
    socket.write(framed(event('[DONE]')) + end);
  };
  const opened = stream();
  client.resolve(opened);
  await once(opened.socket, 'close');
  t.equal(framesOf(opened.text()).length, 6, 'each was seen before the next was sent');
});

t.test('what came before an answer broke is before the error', async (t) => {
  const events = numbered(3);
  play = (socket) => void socket.write(`${head + events.map(framed).join('')}this is no length\r\n`);
  const client = stream();
  await once(client.socket, 'close');
  const answer = framesOf(client.text()).join('');
  t.ok(answer.startsWith(events.join('')), 'all of the events');
  t.match(answer.slice(events.join('').length), /^\s*data: \{"error".*UPSTREAM_STREAM_BROKEN/);
  t.notOk(client.text().endsWith(end), 'and it does not look whole');
});

t.test('what is no stream of events, in pieces longer than are joined, comes as it is', async (t) => {
  const piece = (letter: string): string => letter.repeat(20_000);
  const whole = `{"choices":[],"text":"${piece('a')}${piece('b')}${'c'.repeat(9000)}${'d'.repeat(9000)}"}`;
  const pieces = [
    whole.slice(0, 20_000),
    whole.slice(20_000, 40_000),
    whole.slice(40_000, 49_000),
    whole.slice(49_000),
  ];
  play = (socket) =>
    void socket.write(
      'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n' +
        pieces.map(framed).join('') +
        end,
    );
  const client = stream();
  await once(client.socket, 'close');
  t.equal(framesOf(client.text()).join(''), whole);
});

t.test('an answer that breaks within a read breaks once, whatever else the read had', async (t) => {
  const pieces = [`data: \0\n\n`, event('a'.repeat(20_000)), event('b')];
  play = (socket) => void socket.write(head + pieces.map(framed).join('') + end);
  const client = stream();
  await once(client.socket, 'close');
  const answer = client.text();
  t.equal(answer.match(/UPSTREAM_STREAM_BROKEN/g)?.length, 1, 'one error event');
  t.notMatch(answer, /aaaa|data: b/, 'and nothing behind what was no event');
});

t.test('a fault at the end of a turn is told, and ends no process', async (t) => {
  const told = Promise.withResolvers<Error>();
  const fault = new Error('a fault');
  const gathering = new Gathering({
    handOn() {
      throw fault;
    },
    onTurnEnd() {},
    onFault: told.resolve,
  });
  gathering.push(Buffer.from('a piece'));
  t.equal(await told.promise, fault);
});
