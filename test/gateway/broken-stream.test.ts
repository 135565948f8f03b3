import { connect } from 'node:net';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { rawUpstream } from '../support/raw-upstream.ts';

const key = 'sk-test-broken-0123456789abcdef';
const event = 'data: {"choices":[]}\n\n';
// Who asks for the usage himself has nothing held back.
const body = JSON.stringify({ model: 'gpt-4o', stream: true, stream_options: { include_usage: true } });

let onRelayed = (): void => {};
const upstream = await rawUpstream(t, (head) => ({
  async play(socket) {
    const isReset = head.includes('user-agent: reset');
    const length = event.length * (isReset ? 3 : 2);
    const whole = `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: ${length}\r\n\r\n${event}${event}`;
    await new Promise((done) => void socket.write(whole, done));
    // Not before the gateway has read what came: the end of a reset connection takes along what is unread.
    onRelayed = () => void (isReset && socket.resetAndDestroy());
  },
}));
const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
await gateway.addKey('openai', key);

/** All bytes of an answer, up to the connection's end. */
async function answerTo(agent: string, version: string): Promise<{ text: string; fault: string | null }> {
  const socket = connect(Number(new URL(gateway.origin).port), '127.0.0.1').setEncoding('latin1');
  let text = '';
  let fault: string | null = null;
  socket
    .on('data', (piece: string) => {
      text += piece;
      if (text.includes(event)) onRelayed();
    })
    .on('error', (error: NodeJS.ErrnoException) => (fault = error.code ?? ''));
  socket.write(
    `POST /v1/chat/completions HTTP/${version}\r\nhost: x\r\nauthorization: Bearer ${gateway.token}\r\nuser-agent: ${agent}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  await new Promise((done) => socket.once('close', done));
  return { text, fault };
}

for (const [agent, how] of [
  ['whole', 'is as long as it said, and lacks its last event'],
  ['reset', 'is reset before it is as long as it said'],
] as const)
  t.test(`a stream of a known length that ${how} is told as broken`, async (t) => {
    const { text } = await answerTo(agent, '1.1');
    t.notMatch(text, /^content-length:/im, 'an error event would not be counted');
    t.match(text, /UPSTREAM_STREAM_BROKEN/);
    t.notMatch(text, /\r\n0\r\n/, 'and without the last chunk');
    const old = await answerTo(agent, '1.0');
    t.notMatch(old.text, /^(content-length|transfer-encoding):/im);
    t.match(old.text, /UPSTREAM_STREAM_BROKEN/);
    t.equal(old.fault, 'ECONNRESET', 'to HTTP/1.0 an orderly end would be the end of the whole');
  });
